"""One script each, run as a whole process in an environment of its own.

Each takes the API's base URL, the database's URL and `first` or `again`, as its own documentation
would have a user write it. Names are not those of packages: a script's folder comes first on its
path.
"""
