"""A whole mirror moved: from one database to another, or through files."""
