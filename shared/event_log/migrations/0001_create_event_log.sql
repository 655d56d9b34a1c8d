-- A topic is its partitions. Their number is for life: with another one a key would move.
CREATE TABLE event_log.partitions (
    partition_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    UNIQUE (topic, partition)
);

-- Append-only. No foreign key to partitions: it would be checked for every record, and append() below is the
-- only writer.
CREATE TABLE event_log.records (
    partition_id integer NOT NULL,
    record_offset bigint NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers bytea, -- MessagePack: [[name, value], ...]; null when there are none
    appended_at timestamptz NOT NULL,
    PRIMARY KEY (partition_id, record_offset)
);

-- Large values go out of line as they are: compressing them would cost more than the disk they save.
ALTER TABLE event_log.records ALTER COLUMN value SET STORAGE EXTERNAL;

-- Appends records to the partitions wanted_partitions (sorted, each once). Each record names its partition and
-- its rank among this call's records of that partition, from 0. Returns the offset of rank 0, per partition.
--
-- Offsets become visible in order: the locks are held until the commit is visible, so whoever comes next sees
-- the newest offset and continues from there. For this each statement must have a snapshot of its own, as it has
-- in a volatile function at READ COMMITTED; at a stricter level the primary key turns the mistake into an error.
-- The locks are taken in the order of the array, so that two calls never wait for each other.
CREATE FUNCTION event_log.append(
    wanted_partitions integer[],
    record_partitions integer[],
    record_ranks integer[],
    record_keys bytea[],
    record_values bytea[],
    record_headers bytea[]
) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    first_offsets bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(1819044974, wanted) FROM unnest(wanted_partitions) AS wanted;

    SELECT array_agg(coalesce(
        (SELECT newest.record_offset + 1
           FROM event_log.records AS newest
          WHERE newest.partition_id = wanted.partition_id
          ORDER BY newest.record_offset DESC
          LIMIT 1), 0) ORDER BY wanted.position)
      INTO first_offsets
      FROM unnest(wanted_partitions) WITH ORDINALITY AS wanted (partition_id, position);

    INSERT INTO event_log.records (partition_id, record_offset, key, value, headers, appended_at)
    SELECT record.partition_id,
           first_offsets[array_position(wanted_partitions, record.partition_id)] + record.rank,
           record.key, record.value, record.headers, clock_timestamp()
      FROM unnest(record_partitions, record_ranks, record_keys, record_values, record_headers)
           AS record (partition_id, rank, key, value, headers);

    RETURN first_offsets;
END
$$;

-- Who reads what at present. A member that does not renew in time is gone.
CREATE TABLE event_log.members (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    member_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (consumer_group, topic, member_id)
);
