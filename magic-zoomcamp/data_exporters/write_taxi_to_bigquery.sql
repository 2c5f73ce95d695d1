-- The month is replaced in one atomic statement: readers see the old month or the new one, and a failure leaves the old.
-- ON FALSE matches nothing, so nothing is joined; the condition of the DELETE confines it to the month's partition.
-- Unlike a transaction, which is cancelled when another one changes the table, it queues behind other months' loads.
MERGE `{{ block_output('transform_staged_data', parse=lambda df, _: df['target'][0]) }}` AS trips
USING (
  SELECT *, DATE '{{ block_output('transform_staged_data', parse=lambda df, _: df['file_month'][0]) }}' AS file_month
  FROM `{{ block_output('transform_staged_data', parse=lambda df, _: df['staging'][0]) }}`
)
ON FALSE
WHEN NOT MATCHED BY SOURCE
  AND trips.file_month = DATE '{{ block_output('transform_staged_data', parse=lambda df, _: df['file_month'][0]) }}'
THEN DELETE
WHEN NOT MATCHED BY TARGET THEN
  INSERT ({{ block_output('transform_staged_data', parse=lambda df, _: df['columns'][0]) }})
  VALUES ({{ block_output('transform_staged_data', parse=lambda df, _: df['columns'][0]) }})
