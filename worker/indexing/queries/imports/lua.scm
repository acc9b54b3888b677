(function_call name: (identifier) arguments: (arguments . (string))) @import
