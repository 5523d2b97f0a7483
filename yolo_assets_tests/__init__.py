"""The tests, mirroring the package. A package itself, so that tests can import `yolo_assets_tests.support`."""
