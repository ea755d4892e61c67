"""Programs that run in other environments: the project's own, the converter's, a consumer's.

They are copied there and import nothing of lockship but each other; all that a module needs beyond the standard library
is imported in the functions that use it. Python 3.10 and newer.
"""
