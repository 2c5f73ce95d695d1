{{ marked(ref('base_yellow_trips')) }}
