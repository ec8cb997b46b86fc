"""Files or a hub to a published dataset, and the views of one."""
