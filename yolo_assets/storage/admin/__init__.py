"""Setting up and examining stores for the operator: ``yolo-assets storage``. Nothing here runs during archiving or
inference."""
