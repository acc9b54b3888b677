; Components; lower-case names are HTML.
(jsx_opening_element name: [(identifier) @reference.capitalised
                            (member_expression property: (property_identifier) @reference.capitalised)])
(jsx_self_closing_element name: [(identifier) @reference.capitalised
                                 (member_expression property: (property_identifier) @reference.capitalised)])
(jsx_expression (identifier) @reference.capitalised)
