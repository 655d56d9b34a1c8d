-- Checkpoints that witnesses are asked to cosign. Those that a newer one with enough cosignatures has overtaken
-- are deleted: nothing is proved by them that the newer one does not prove.
CREATE TABLE receipts.checkpoints (
    tree_size bigint      PRIMARY KEY CHECK (tree_size > 0),
    note      text        NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT now()
);

COMMENT ON COLUMN receipts.checkpoints.note IS 'as the log signed it, without cosignatures';

CREATE TABLE receipts.cosignatures (
    tree_size   bigint      NOT NULL REFERENCES receipts.checkpoints ON DELETE CASCADE,
    witness     text        NOT NULL,
    line        text        NOT NULL,
    cosigned_at timestamptz NOT NULL,
    PRIMARY KEY (tree_size, witness)
);

COMMENT ON COLUMN receipts.cosignatures.witness IS 'its verifier key';
COMMENT ON COLUMN receipts.cosignatures.cosigned_at IS 'by the clock of the witness, under its signature';

-- How far each witness is.
CREATE TABLE receipts.witnesses (
    witness       text        PRIMARY KEY,
    tree_size     bigint      NOT NULL DEFAULT 0,
    cosigned_at   timestamptz,
    waiting_since timestamptz,
    next_ask_at   timestamptz NOT NULL DEFAULT now(),
    fault         text
) WITH (fillfactor = 50); -- room to update rows in place

COMMENT ON COLUMN receipts.witnesses.tree_size IS 'of the largest checkpoint that it cosigned';
COMMENT ON COLUMN receipts.witnesses.waiting_since IS 'since when there is a larger one';
COMMENT ON COLUMN receipts.witnesses.next_ask_at IS 'until then one process asks it, and no other does';
