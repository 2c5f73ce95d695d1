"""How yellow files of 2009 and 2010 name their columns and spell their codes."""

LEGACY_NAMES = {
    # 2009: TLC's first names.
    "vendor_name": "VendorID",
    "trip_pickup_datetime": "tpep_pickup_datetime",
    "trip_dropoff_datetime": "tpep_dropoff_datetime",
    "rate_code": "RatecodeID",
    "store_and_forward": "store_and_fwd_flag",
    "fare_amt": "fare_amount",
    "tip_amt": "tip_amount",
    "tolls_amt": "tolls_amount",
    "total_amt": "total_amount",
    "surcharge": "extra",
    # 2010: renamed once more.
    "vendor_id": "VendorID",
    "pickup_datetime": "tpep_pickup_datetime",
    "dropoff_datetime": "tpep_dropoff_datetime",
}
_COORDINATES = "2009-2010 coordinates: the taxi zones of later eras have no column for them"
LEGACY_DROPPED = {
    **dict.fromkeys(("start_lon", "start_lat", "end_lon", "end_lat"), _COORDINATES),
    **dict.fromkeys(("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"), _COORDINATES),
    "__index_level_0__": "row number left by the program that wrote 2010-02 and 2010-03",
}
LEGACY_SPELLINGS = {
    "VendorID": {"cmt": 1, "vts": 2, "dds": 3},
    "payment_type": {
        **dict.fromkeys(("credit", "cre", "crd"), 1),
        **dict.fromkeys(("cash", "cas", "csh"), 2),
        **dict.fromkeys(("no charge", "noc", "no"), 3),
        **dict.fromkeys(("dispute", "dis"), 4),
        **dict.fromkeys(("unknown", "unk", "na"), 5),
    },
}
