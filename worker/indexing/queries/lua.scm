(function_declaration name: (identifier) @name) @definition.function
(function_declaration name: (dot_index_expression table: (_) @parent field: (identifier) @name)) @definition.function
(function_declaration name: (method_index_expression table: (_) @parent method: (identifier) @name)) @definition.function
(assignment_statement
  (variable_list . name: (identifier) @name)
  (expression_list . value: (function_definition))) @definition.function
(assignment_statement
  (variable_list . name: (dot_index_expression table: (_) @parent field: (identifier) @name))
  (expression_list . value: (function_definition))) @definition.function
(field name: (identifier) @name value: (function_definition)) @definition.function
(field name: (string content: (string_content) @name) value: (function_definition)) @definition.function
(chunk (variable_declaration (assignment_statement (variable_list name: (identifier) @name)) @definition.variable))
(chunk (assignment_statement (variable_list name: (identifier) @name)) @definition.variable)

(function_call name: [
  (identifier) @reference.call
  (dot_index_expression field: (identifier) @reference.call)
  (method_index_expression method: (identifier) @reference.call)])
(dot_index_expression table: (identifier) @reference.capitalised)
(method_index_expression table: (identifier) @reference.capitalised)
(dot_index_expression field: (identifier) @reference.capitalised)
(arguments (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
