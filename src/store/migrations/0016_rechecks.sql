-- When the newest access token that was seen of whoever has called was issued, and when it ends: a replica that asks the
-- issuer about an older one finds that another has seen a newer. NULL: none was held. Tokens themselves are stored nowhere.
ALTER TABLE principals ADD COLUMN token_issued_ms BIGINT;
ALTER TABLE principals ADD COLUMN token_expires_ms BIGINT;
