"""Setting up and examining stores for the operator: ``yolo-assets storage``. Not used in archiving or inference."""
