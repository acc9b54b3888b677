(function_definition name: (word) @name) @definition.function
(program (variable_assignment name: (variable_name) @name) @definition.variable)
(program (declaration_command (variable_assignment name: (variable_name) @name)) @definition.variable)
(command name: (command_name (word) @keyword) argument: (concatenation . (word) @name)) @definition.keyword
(command name: (command_name (word) @keyword) argument: (word) @name) @definition.keyword

(command name: (command_name (word) @reference.call))
