"""Objects: files in a bucket or a folder, and how their records come in.

An *object* is a file in a bucket of S3 or GCS, or in a folder. This package lists and reads them
and cuts what it reads into whole records; what a record means is not its business.
"""
