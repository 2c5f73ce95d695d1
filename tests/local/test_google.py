def test_x(google_server):
    print(google_server)
