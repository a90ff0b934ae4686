-- The expiry of which webhooks were told, so that a clock that is set back has nobody told of it twice.
ALTER TABLE keys ADD COLUMN expiry_told INTEGER;
UPDATE keys SET expiry_told = expires_at WHERE expires_at <= (SELECT expired_until FROM deployment WHERE only_row = 1);
