{{ marked(ref('base_green_trips')) }}
