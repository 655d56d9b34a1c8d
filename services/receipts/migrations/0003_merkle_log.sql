-- The Merkle log over all receipts (RFC 9162 hashing). Its one row is locked by whoever appends, until the commit:
-- so the tree has neither fork nor gap, and what is told of it is durable.
CREATE TABLE receipts.log (
    is_only     boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    origin      text        NOT NULL,
    tree_size   bigint      NOT NULL CHECK (tree_size >= 0),
    frontier    bytea       NOT NULL,
    checkpoint  text        NOT NULL,
    appended_at timestamptz NOT NULL
) WITH (fillfactor = 50); -- room to update the row in place

COMMENT ON COLUMN receipts.log.origin IS 'the name of the log in its checkpoints, unique in the world and for ever';
COMMENT ON COLUMN receipts.log.frontier IS 'the roots of the perfect subtrees of the tree, the largest first';
COMMENT ON COLUMN receipts.log.checkpoint IS 'the signed note over this size and its root';

-- Which receipt is which leaf. `leaf_hash` is over its payload.
CREATE TABLE receipts.leaves (
    leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
    leaf_hash  bytea  NOT NULL CHECK (length(leaf_hash) = 32),
    account_id uuid   NOT NULL,
    receipt_id uuid   NOT NULL
);

CREATE UNIQUE INDEX leaves_one_per_receipt ON receipts.leaves (account_id, receipt_id);

-- Full tiles (C2SP tlog-tiles): 256 hashes each, written when the tree has them all. `root` is over the whole tile
-- and is the tile's hash in the level above.
CREATE TABLE receipts.tiles (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    number bigint   NOT NULL CHECK (number >= 0),
    root   bytea    NOT NULL CHECK (length(root) = 32),
    hashes bytea    NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (level, number)
);

ALTER TABLE receipts.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL; -- hashes cannot be compressed

CREATE FUNCTION receipts.refuse_rewind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.tree_size >= OLD.tree_size AND NEW.origin = OLD.origin THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the log only grows: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER log_only_grows BEFORE UPDATE OR DELETE ON receipts.log
    FOR EACH ROW EXECUTE FUNCTION receipts.refuse_rewind();
CREATE TRIGGER log_is_kept BEFORE TRUNCATE ON receipts.log
    FOR EACH STATEMENT EXECUTE FUNCTION receipts.refuse_change();
CREATE TRIGGER tiles_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts.tiles
    FOR EACH STATEMENT EXECUTE FUNCTION receipts.refuse_change();
CREATE TRIGGER leaves_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts.leaves
    FOR EACH STATEMENT EXECUTE FUNCTION receipts.refuse_change();
