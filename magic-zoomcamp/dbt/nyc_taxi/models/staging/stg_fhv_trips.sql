{{ marked(ref('base_fhv_trips')) }}
