"""A row of any shape to examples: columns to roles, cells to conversations, roles to pairs or labels."""
