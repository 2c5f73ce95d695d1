{{ marked(ref('base_fhvhv_trips')) }}
