"""
A pipeline whose blocks are all made from the project's block templates, as the UI makes them.

    python -m tests.pipelines.from_templates <project folder> <pipeline> <template> ...
"""

import sys

from mage_ai.settings.repo import set_repo_path


def main() -> None:
    """Make the pipeline and its blocks, each below the one before, each named after its template."""
    project, pipeline_uuid, *templates = sys.argv[1:]
    set_repo_path(project)
    from mage_ai.data_preparation.models.custom_templates.custom_block_template import CustomBlockTemplate
    from mage_ai.data_preparation.models.pipeline import Pipeline

    pipeline = Pipeline.create(pipeline_uuid, repo_path=project)
    above: list[str] = []
    for name in templates:
        template = CustomBlockTemplate.load(project, template_uuid=name)
        block = template.create_block(f"my_{name}", pipeline, upstream_block_uuids=above)
        block.update_content(template.load_template_content())
        above = [block.uuid]


if __name__ == "__main__":
    main()
