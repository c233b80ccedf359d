"""The archive: immutable files, the manifest that names them, and what reads them."""
