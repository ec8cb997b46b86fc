"""Datasets on disk: Parquet, dataset_info.json, manifest, journal."""
