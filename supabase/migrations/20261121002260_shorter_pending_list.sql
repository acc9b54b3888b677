-- What was last put on the trigram index waits in a list of 4 MB; its pages stay with the index when it is folded in. Of
-- an index on 35 MB of text that was a quarter. Folding in smaller parts costs more: at 1 MB a seventh of what the
-- index costs, which is why this is not less.
alter index idx.blobs_content_trgm set (gin_pending_list_limit = 2048);
