(import_statement) @import
(export_statement source: (_)) @import
(call_expression function: (import) arguments: (arguments . (string))) @import
(call_expression function: (identifier) arguments: (arguments . (string))) @import
