-- What reports ask for: entries of a time, and of one grant, request or revocation. Entries of the kind audit_line are found
-- by audit_lines_of_grant. The lists of kinds and the expressions are those of the queries, word by word.
-- Canonical JSON has quotes within a string only escaped, so that no text of a fact can pass for a member. It is not read as
-- JSON here: jsonb refuses \u0000, which a fact may hold.
CREATE INDEX entries_by_time ON entries (at_ms, entry_index);
CREATE INDEX entries_of_grant ON entries (substring(canonical FROM '"grant":"([^"]+)"'))
    WHERE kind IN ('grant_issued', 'grant_claimed', 'grant_revoked', 'grant_expired', 'grant_used_up', 'grant_suspended', 'grant_resumed', 'grant_reviewed', 'review_overdue', 'grant_closed');
CREATE INDEX entries_of_elevation ON entries (substring(canonical FROM '"elevation":"([^"]+)"'))
    WHERE kind IN ('elevation_requested', 'elevation_approved', 'elevation_denied', 'elevation_withdrawn', 'elevation_lapsed');
CREATE INDEX entries_of_revocation ON entries (substring(canonical FROM '"revocation":"([^"]+)"'))
    WHERE kind IN ('revocation_ordered', 'revocation_enforced');
