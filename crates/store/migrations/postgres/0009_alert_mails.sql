-- The kinds of alerts that a member is mailed, as a list in JSON. NULL is what the role has.
ALTER TABLE members ADD COLUMN alert_mails TEXT;
