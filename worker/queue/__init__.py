"""The job table, a file a verb. The verbs are SQL functions in schema queue; here is how Python calls them."""
