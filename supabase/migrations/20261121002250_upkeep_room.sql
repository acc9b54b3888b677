-- Whoever pays for a content makes its row of upkeep longer by a third: at half full every fourth row then found no room
-- on its page, and took a new one and a second entry in the index. Pages filled from now on have room for all.
alter table idx.upkeep set (fillfactor = 42);
