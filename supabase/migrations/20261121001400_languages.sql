-- Further languages and kinds of symbols, what the documentation of a definition begins with, and imports.

insert into idx.languages values
    (8, 'c'), (9, 'cpp'), (10, 'csharp'), (11, 'ruby'), (12, 'php'), (13, 'scala'), (14, 'kotlin'), (15, 'swift'),
    (16, 'lua'), (17, 'elixir'), (18, 'bash'), (19, 'sql'), (20, 'markdown'), (21, 'yaml'), (22, 'toml'), (23, 'json');
insert into idx.symbol_kinds values (14, 'heading'), (15, 'key'), (16, 'namespace');
alter table idx.symbols add column doc text;
