-- Style sheets and pages are languages of their own: which language a path is in must say all that its name says of how
-- a content is read, because a content is stored once a language.

insert into idx.languages values (24, 'css'), (25, 'html');
