//! Every bound of the wire format and of this library's buffers, in one place.
//!
//! A limit of the wire format is part of the contract between implementations (`docs/wire-format.md`);
//! the others are defaults or ceilings of this library alone.

/// Longest topic, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Longest identity, in bytes: `_heartbeat.<identity>.<uuid>` must still be a topic.
pub const IDENTITY_BYTES_MAX: usize = 200;
/// Highest slot number of an identity.
pub const SLOT_MAX: u16 = 9_999;
/// Longest second frame, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a second frame beside `msg`, `ext`, the headers, `msg_id` and `username`: fixed members,
/// numbers, names, the longest stream, topic and signature.
pub const ENVELOPE_REST_BYTES_MAX: usize =
    320 + IDENTITY_BYTES_MAX + 37 + TOPIC_BYTES_MAX + SIGNATURE_CHARS_MAX;
/// Longest frame that a transport carries: an envelope and some air.
pub const FRAME_BYTES_MAX: usize = ENVELOPE_BYTES_MAX + 4_096;
/// Deepest nesting of `msg` and of `ext`; the object that is their value is depth 1.
pub const JSON_DEPTH_MAX: usize = 64;
/// Highest message number: the largest integer that every JSON reader keeps exact.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Most messages under one signature.
pub const TREE_LEAVES_MAX: usize = 64;
/// Longest inclusion path of a tree of [`TREE_LEAVES_MAX`] leaves.
pub const TREE_PATH_MAX: usize = 6;
/// Longest `signature` member, in base64url characters.
pub const SIGNATURE_CHARS_MAX: usize = (64 + 2 + 32 * TREE_PATH_MAX) * 4 / 3;
/// Longest `msg_id`, in bytes.
pub const MSG_ID_BYTES_MAX: usize = 128;
/// Longest `username`, in bytes.
pub const USERNAME_BYTES_MAX: usize = 128;
/// Most headers of one message.
pub const HEADERS_MAX: usize = 64;
/// Longest name of a header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 64;
/// Longest value of a header, in bytes.
pub const HEADER_VALUE_BYTES_MAX: usize = 4_096;

/// A heartbeat older than this, in milliseconds, cannot be the base of a stream that is new to the reader,
/// and a message whose time differs by more from the reader's clock is flagged as skewed.
pub const FRESH_MS_MAX: u64 = 300_000;
/// A hole is declared a gap after this time, in milliseconds, or by the next heartbeat.
pub const HOLE_MS_MAX: u64 = 250;
/// What a reader needs of a stream is asked for anew after this time, in milliseconds, if it has not come.
pub const NEED_MS: u64 = 1_000;
/// Needs of one stream that wait for their turn; what finds no room is needed again later.
pub const NEEDS_OF_STREAM_MAX: usize = 8;
/// Requests of a reader that are on their way to holders.
pub const FLIGHTS_MAX: usize = 64;
/// Requests of a reader that are on their way to one holder.
pub const FLIGHTS_OF_HOLDER_MAX: usize = 4;
/// Bytes of answers that wait for a reader; then holders are not read from until it has taken some.
pub const ANSWERS_WAITING_BYTES_MAX: usize = 16 << 20;
/// A request of which nothing more has come for this time, in milliseconds, is given up.
pub const ASK_MS_MAX: u64 = 2_000;
/// Shortest and longest time for which a holder that failed is left alone, in milliseconds, before jitter.
pub const RETRY_MS_MIN: u64 = 100;
/// See [`RETRY_MS_MIN`].
pub const RETRY_MS_MAX: u64 = 30_000;
/// A holder that gave what is not true is left alone for this time, in milliseconds.
pub const BLAME_MS: u64 = 60_000;
/// Holders are asked for their streams again after this time, in milliseconds, or up to a quarter less, where that is
/// wanted.
pub const LIST_AGAIN_MS: u64 = 10_000;
/// What is fetched without success for this time, in milliseconds, is said to stand still.
pub const STALL_MS: u64 = 10_000;
/// How long, in milliseconds, it is waited for holders that are silent where one has answered and nothing
/// signed shows that there is more to have.
pub const SOFT_MS: u64 = 30_000;
/// Bytes of messages that wait for their turn while the past of several streams is merged, with what is kept
/// beside each.
pub const HISTORY_BYTES: u64 = 48 << 20;
/// What is kept beside the bytes of a message that waits for its turn, in bytes: its names, and where they are.
pub const HISTORY_BESIDE_BYTES: u64 = 768;
/// How long, in milliseconds, holders are waited for that do not say which streams they have.
pub const LISTING_MS: u64 = 5_000;
/// How long, in milliseconds, holders are waited for that say it in parts, and have not come to an end.
pub const LISTING_MS_MAX: u64 = 60_000;
/// As [`LISTING_MS`], where another holder of the same service has said so.
pub const LISTING_SIBLINGS_MS: u64 = 1_000;
/// Longest record that a reader keeps of each stream, to show it to a publisher that was set back.
pub const PROOF_BYTES_MAX: usize = 4_096;
/// Holders that are shown such a record.
pub const SHOWN_HOLDERS_MAX: usize = 4;
/// Separate spans of numbers in one search; further ones are joined to their neighbour.
pub const ABSENT_SPANS_MAX: usize = 1_024;
/// A stream that was silent for this time, in milliseconds, is asked for: three heartbeats are missing.
pub const SILENT_MS: u64 = 3 * HEARTBEAT_IDLE_MS;
/// A stream that stays silent is asked for again after this time, in milliseconds.
pub const LOOK_AGAIN_MS: u64 = 60_000;
/// A number this far ahead of the next expected one moves nothing until a signed heartbeat confirms it.
pub const FAR_JUMP: u64 = 10_000_000;
/// Time between heartbeats of an idle publisher, in milliseconds.
pub const HEARTBEAT_IDLE_MS: u64 = 5_000;
/// Time from the last message of a burst to its heartbeat, in milliseconds.
pub const HEARTBEAT_AFTER_BURST_MS: u64 = 100;

/// Verified roots that a receiver remembers.
pub const ROOTS_MAX: usize = 8_192;
/// Trees of which a receiver remembers more than the root, so that the others of their leaves need fewer hashes.
pub const TREES_MAX: usize = 8;
/// Policy decisions that a receiver remembers.
pub const VERDICTS_MAX: usize = 16_384;
/// Messages that a reader holds behind holes, for all streams together.
pub const HELD_MESSAGES_MAX: usize = 10_000;
/// Bytes of messages that a reader holds behind holes, for all streams together.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Streams that a reader keeps a position of; the one silent for longest is forgotten first.
pub const STREAMS_MAX: usize = 20_000;
/// Streams that stand still which a reader names.
pub const STALLED_NAMES_MAX: usize = 100;
/// Leaves of past messages that a reader keeps for each stream, to tell a duplicate from a fork.
pub const RECENT_LEAVES: usize = 64;
/// Default bound of a publisher's and of a subscriber's queue, in messages.
pub const QUEUE_MESSAGES: usize = 10_000;
/// Default bound of a publisher's and of a subscriber's queue, in bytes.
pub const QUEUE_BYTES: usize = 64 << 20;
/// Default time that a receipt waits for copies at holders, in milliseconds.
pub const COPIES_WAIT_MS: u64 = 10_000;
/// Shortest such time, in milliseconds.
pub const COPIES_WAIT_MS_MIN: u64 = 100;
/// Longest such time, in milliseconds.
pub const COPIES_WAIT_MS_MAX: u64 = 600_000;
/// A holder that has a message and gave no good receipt for it is asked again after so long, in milliseconds; each time
/// in vain doubles that, up to 32 times.
pub const COPY_PROOF_MS: u64 = 1_000;
/// Identifiers given by callers that a publisher remembers, to make a retry with the same one harmless.
pub const MSG_IDS_MAX: usize = 100_000;
/// How long an identifier given by a caller is remembered, in milliseconds.
pub const MSG_ID_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// Records of its own stream that a publisher looks at when they are put to it, at once after a pause.
pub const SHOWN_BURST: u64 = 1_000;
/// The same in each second.
pub const SHOWN_PER_SECOND: u64 = 200;
/// New epochs that a publisher begins at once because of what it is shown; further ones come once in
/// [`RENEWAL_MS`].
pub const RENEWALS_BURST: usize = 8;
/// See [`RENEWALS_BURST`], in milliseconds.
pub const RENEWAL_MS: u64 = 60_000;
/// After this time without one, in milliseconds, [`RENEWALS_BURST`] new epochs may begin at once again.
pub const RENEWALS_CALM_MS: u64 = 3_600_000;

/// Most messages in one `PUT`.
pub const PUT_MESSAGES_MAX: usize = 100;
/// Relays of which it is written down how far they are with one stream.
pub const DELIVERED_RELAYS_MAX: usize = 64;
/// Refusals of relays that are written down for one stream; the oldest falls out.
pub const DELIVERED_REFUSALS_MAX: usize = 32;
/// Longest file that says what relays have of a stream, in bytes.
pub const DELIVERED_FILE_BYTES_MAX: usize = 128 << 10;
/// Streams that processes without an endpoint have at one time, for each identity of a host.
pub const UNIQUE_SLOTS_MAX: usize = 1_000;
/// Default of `outbox_bytes`.
pub const OUTBOX_BYTES: u64 = 256 << 20;
/// Smallest `outbox_bytes`.
pub const OUTBOX_BYTES_MIN: u64 = 4 << 20;
/// Largest segment of a journal whose publisher has no endpoint: commands read the newest one whenever they start.
pub const OUTBOX_SEGMENT_BYTES: u64 = 1 << 20;
/// Most messages in the answer to one `GET`.
pub const GET_MESSAGES_MAX: u64 = 1_000;
/// Most bytes in the answer to one `GET`; at least one message is always sent.
pub const GET_BYTES_MAX: usize = 1 << 20;
/// Most bytes in one `PUT`, both frames of all its messages together.
pub const PUT_BYTES_MAX: usize = 4 << 20;
/// Longest identifier of a request, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 16;
/// Longest token of a `LIST`, in bytes.
pub const TOKEN_BYTES_MAX: usize = 64;
/// Longest word of a replay frame (a consumer's name, a reason), in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Longest explanation in a replay frame, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest receipt of a `STORED`, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 4_096;
/// Most patterns of one `GET`.
pub const FILTERS_MAX: usize = 64;
/// Most epochs in one `INFO`: the newest ones.
pub const EPOCHS_MAX: usize = 1_000;
/// Most streams on one page of a `LIST`.
pub const PAGE_STREAMS_MAX: usize = 1_000;
/// Most records that a holder looks at for one `GET` with filters.
pub const GET_SCAN_MESSAGES_MAX: usize = 4_000;
/// Most bytes of records that a holder looks at for one `GET` with filters.
pub const GET_SCAN_BYTES_MAX: usize = 4 << 20;
/// Peers that a holder knows at one time; further ones are told to wait.
pub const HOLDER_PEERS_MAX: usize = 4_096;
/// Requests of one peer that a holder answers at once, after a pause.
pub const PEER_REQUESTS_BURST: u64 = 4_000;
/// Requests of one peer that a holder answers in each second.
pub const PEER_REQUESTS_PER_SECOND: u64 = 2_000;
/// Bytes of records that a holder gives one peer at once, after a pause.
pub const PEER_BYTES_BURST: u64 = 512 << 20;
/// Bytes of records that a holder gives one peer in each second: more than a network of 1 Gbit/s carries.
pub const PEER_BYTES_PER_SECOND: u64 = 256 << 20;
/// Positions of consumers that a holder remembers, for each consumer and stream one.
pub const FLOORS_MAX: usize = 10_000;
/// Consumers of one stream whose positions a holder tells, and keeps beside the journal; the one that was silent for
/// longest falls out.
pub const FLOORS_OF_STREAM_MAX: usize = 256;
/// The position of a consumer that was silent for so many milliseconds is forgotten: 30 days.
pub const FLOOR_MS_MAX: u64 = 30 * 86_400_000;
/// How often the positions of consumers are written down, in milliseconds.
pub const FLOORS_SAVE_MS: u64 = 5_000;
/// Longest file of positions of consumers, in bytes.
pub const FLOORS_FILE_BYTES_MAX: usize = 64 << 10;
/// Longest file that names the last epoch of a stream, in bytes.
pub const LAST_EPOCH_FILE_BYTES_MAX: usize = 4 << 10;
/// Longest file of a saved heartbeat, in bytes.
pub const HEARTBEAT_FILE_BYTES_MAX: usize = 64 << 10;
/// Journals that a shelf keeps open; each has at most [`JOURNAL_OPEN_FILES_MAX`] files.
pub const SHELF_READERS_MAX: usize = 32;
/// Journals of other processes that a shelf looks at for one `LIST`; the rest comes with the next one.
pub const SHELF_LOOKS_MAX: usize = 64;
/// Requests of one peer that wait for their turn.
pub const WAITING_OF_PEER_MAX: usize = 1_024;
/// Requests of all peers that wait for their turn.
pub const WAITING_MAX: usize = 8_192;
/// Bytes of the requests of one peer that wait for their turn.
pub const WAITING_BYTES_OF_PEER_MAX: usize = 8 << 20;
/// Bytes of the requests of all peers that wait for their turn.
pub const WAITING_BYTES_MAX: usize = 64 << 20;
/// A request that waited for so many milliseconds is not answered as it was asked: its asker has given it up.
pub const WAITING_MS_MAX: u64 = 2_000;
/// Bytes of answers after which a holder looks who else asks.
pub const TURN_BYTES_MAX: usize = 4 << 20;
/// Bytes of answers that a holder keeps for one peer that does not read them.
pub const ANSWER_BYTES_OF_PEER_MAX: usize = 8 << 20;
/// Bytes of answers that a holder keeps for all peers that do not read them.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Latest time of a message, in milliseconds since 1970: the end of the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Most records of one append to a journal.
pub const JOURNAL_BATCH_RECORDS_MAX: usize = 1_024;
/// Most bytes of one append to a journal, as they are written.
pub const JOURNAL_BATCH_BYTES_MAX: usize = 4 << 20;
/// Longest record of a journal, in bytes: its own fields, a topic and an envelope.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 64 + TOPIC_BYTES_MAX + ENVELOPE_BYTES_MAX;
/// Longest header of a segment, in bytes; the genesis record of its epoch is in it.
pub const JOURNAL_HEADER_BYTES_MAX: usize = 64 << 10;
/// Most segments of one journal.
pub const JOURNAL_SEGMENTS_MAX: usize = 100_000;
/// Smallest `segment_bytes` and `keep_bytes` of a journal.
pub const JOURNAL_SEGMENT_BYTES_MIN: u64 = 4_096;
/// Largest `segment_bytes` of a journal.
pub const JOURNAL_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Smallest `segment_ms` and `keep_ms` of a configuration.
pub const JOURNAL_SEGMENT_MS_MIN: u64 = 1_000;
/// Largest `segment_ms` of a configuration: 30 days.
pub const JOURNAL_SEGMENT_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Largest `keep_bytes` of a configuration.
pub const JOURNAL_KEEP_BYTES_MAX: u64 = 1 << 50;
/// What a relay keeps in its log, in bytes, unless its configuration says otherwise.
pub const RELAY_KEEP_BYTES: u64 = 10 << 30;
/// How long a relay keeps messages, in milliseconds, unless its configuration says otherwise.
pub const RELAY_KEEP_MS: u64 = 7 * 24 * 3_600_000;
/// Default of `host_bytes`.
pub const JOURNAL_HOST_BYTES: u64 = 16 << 30;
/// Most consumers in `hold_for`.
pub const HOLD_FOR_MAX: usize = 64;
/// Largest `keep_ms` of a configuration: 100 years.
pub const JOURNAL_KEEP_MS_MAX: u64 = 36_525 * 24 * 3_600_000;
/// Places in a segment that its index names are so many bytes apart.
pub const JOURNAL_INDEX_STEP_BYTES: u64 = 64 << 10;
/// Longest index of a segment, in bytes.
pub const JOURNAL_INDEX_BYTES_MAX: usize = 1 << 20;
/// Damaged ranges of one segment that are told apart; the last one grows when there are more.
pub const JOURNAL_DAMAGE_MAX: usize = 1_000;
/// Segments that a reader keeps open.
pub const JOURNAL_OPEN_FILES_MAX: usize = 8;
/// Bytes that a journal sets aside for its last words on a full disk.
pub const JOURNAL_RESERVE_BYTES: usize = 128 << 10;
/// Most bytes of an append that may use what was set aside.
pub const JOURNAL_LAST_WORDS_BYTES_MAX: usize = 32 << 10;

/// Most ports of one range of endpoints, and most addresses of one endpoint entry.
pub const ENDPOINT_RANGE_MAX: usize = 1_000;
/// Longest path of an ipc endpoint, in bytes: the kernel takes 107, and libzmq adds to it in places.
pub const IPC_PATH_BYTES_MAX: usize = 100;
/// Longest host name, in bytes.
pub const HOST_BYTES_MAX: usize = 253;
/// Longest configuration file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 << 20;
/// Most files of a configuration folder, keys included.
pub const CONFIG_FILES_MAX: usize = 10_000;
/// Longest file of a secret key, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 4_096;
/// Highest `publisher.slow_subscriber_wait_ms`, and its default.
pub const SLOW_SUBSCRIBER_WAIT_MS_MAX: u64 = 500;
/// Default of `publisher.seal_interval_us`.
pub const SEAL_INTERVAL_US: u64 = 250;
/// Highest `publisher.seal_interval_us`.
pub const SEAL_INTERVAL_US_MAX: u64 = 100_000;

/// Longest name of a durable consumer, in bytes.
pub const CONSUMER_NAME_BYTES_MAX: usize = 63;
/// Longest name of an owner of a durable consumer (host, process), in bytes.
pub const OWNER_BYTES_MAX: usize = 255;
/// Longest lease on a durable consumer, in milliseconds.
pub const LEASE_MS_MAX: u64 = 600_000;
/// Most cursors, refusals, positions or ids in one call to a store of consumers.
pub const STORE_BATCH_MAX: usize = 1_024;
/// Most consumers in one store.
pub const CONSUMERS_MAX: usize = 1_000;
/// Most refused positions that one consumer keeps; further ones are counted.
pub const REFUSALS_MAX: usize = 10_000;
/// Most refused positions of one stream, so that no stream takes the place of all others.
pub const REFUSALS_OF_STREAM_MAX: usize = 1_000;
/// Most messages of one consumer that wait for another try; then it stops until some are done.
pub const RETRIES_MAX: usize = 10_000;
/// Most bytes of the messages of one consumer that wait for another try.
pub const RETRY_BYTES_MAX: u64 = 256 << 20;
/// Most dead letters of one consumer; the oldest one falls out, and is counted.
pub const LETTERS_MAX: usize = 10_000;
/// Most bytes of the dead letters of one consumer.
pub const LETTER_BYTES_MAX: u64 = 256 << 20;
/// Longest text of an error that is kept with a failed message, in bytes; the rest is cut off.
pub const ERROR_TEXT_BYTES_MAX: usize = 4_096;
/// Most failed messages that a store hands out at once.
pub const FAILURES_PAGE_MAX: usize = 64;
/// Most bytes of failed messages that a store hands out at once; at least one is always handed out.
pub const FAILURES_PAGE_BYTES_MAX: usize = 16 << 20;
/// Largest file of a store of consumers, in bytes, unless it is told otherwise.
pub const STORE_BYTES_MAX: u64 = 4 << 30;
/// Default bound of a durable consumer on messages that are handed out and not answered.
pub const IN_FLIGHT_MAX: usize = 1_000;
/// Largest bound of a durable consumer on messages that are handed out and not answered.
pub const IN_FLIGHT_MESSAGES_MAX: usize = 100_000;
/// Bytes of messages that are handed out and not answered; one always has room.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Answers of a durable consumer that are not written down; then it is given nothing until some are.
pub const UNWRITTEN_MAX: usize = 10_000;
/// Refusals of a durable consumer that are not written down; then nothing is read until some are.
pub const REFUSALS_WAITING_MAX: usize = 1_024;
/// Events, beside messages, that a durable consumer has not taken.
pub const EVENTS_WAITING_MAX: usize = 1_024;
/// Default number of tries before a message becomes a dead letter.
pub const TRIES: u32 = 8;
/// Default time from the first failure of a message to its second try, in milliseconds.
pub const TRY_AGAIN_MS: u64 = 1_000;
/// Default of the longest time between two tries, in milliseconds.
pub const TRY_AGAIN_MS_MAX: u64 = 600_000;
/// The cursor of a stream from which nothing is wanted is moved this often, in milliseconds.
pub const IDLE_CURSORS_MS: u64 = 5_000;
/// The cursor of a stream that nobody has is forgotten when it was not moved for this time, in milliseconds: 30 days.
pub const FORGET_MS: u64 = 30 * 86_400_000;
/// The same where the store has no room for the cursor of another stream: a day.
pub const FORGET_FULL_MS: u64 = 86_400_000;
/// How often a durable consumer looks for such cursors, the first time after so long, in milliseconds: who is alive
/// has been heard by then.
pub const FORGET_LOOK_MS: u64 = 3_600_000;
/// Refused messages that are being fetched because they may be accepted by now.
pub const CURES_MAX: usize = 64;
/// Refused messages of one stream that are being fetched.
pub const CURES_OF_STREAM_MAX: usize = 4;
/// A refused message that was asked for and did not come is asked for again after this time, in milliseconds.
pub const CURE_AGAIN_MS: u64 = 60_000;
/// Streams of which it is written down that their key is not known.
pub const NOTES_MAX: usize = 256;
/// Publishers are told how far a durable consumer is this often, in milliseconds.
pub const TELL_MS: u64 = 1_000;
/// Publishers are told of all cursors again after this time, in milliseconds: they may have begun anew.
pub const TELL_AGAIN_MS: u64 = 60_000;
/// Cursors of which publishers are told at once; the others have their turn the next time.
pub const TELLS_MAX: usize = 32;
/// Default length of a lease on a durable consumer, in milliseconds; it is renewed three times as often.
pub const LEASE_MS: u64 = 30_000;
/// A durable consumer looks this often for failed messages that somebody else has put there, in milliseconds.
pub const DUE_AGAIN_MS: u64 = 2_000;
/// A standby asks this often whether the consumer is free, in milliseconds.
pub const STANDBY_MS: u64 = 1_000;
/// Longest time between two tries to write to a store that fails, in milliseconds.
pub const STORE_AGAIN_MS_MAX: u64 = 5_000;
/// How long a call to a store waits for another process, in milliseconds.
pub const STORE_WAIT_MS: u64 = 5_000;

/// Most rows that an outbox table offers to its publisher at once.
pub const OUTBOX_TABLE_BATCH_MAX: usize = 256;
/// Most bytes of the rows that an outbox table reads at once.
pub const OUTBOX_TABLE_BATCH_BYTES_MAX: u64 = 8 << 20;
/// A row of an outbox table with more bytes is not read: nothing of that size is a message, however it is written.
pub const OUTBOX_TABLE_ROW_BYTES_MAX: u64 = 4 << 20;
/// An outbox table counts so many waiting rows, and no further.
pub const OUTBOX_TABLE_COUNT_MAX: u64 = 100_000;
/// Most rows that were set aside in one list.
pub const OUTBOX_TABLE_PAGE_MAX: usize = 1_000;
/// Default time between two looks into an outbox table, in milliseconds.
pub const OUTBOX_TABLE_POLL_MS: u64 = 200;
/// How often the rows of an outbox table are counted, in milliseconds.
pub const OUTBOX_TABLE_COUNT_MS: u64 = 1_000;
/// How long an outbox table waits for the receipts of what it has offered, in milliseconds; then it offers it again.
pub const OUTBOX_TABLE_RECEIPT_MS: u64 = 30_000;
/// A journal is searched for what was offered from so many milliseconds before that on: clocks are set back now and
/// then.
pub const OUTBOX_TABLE_SLACK_MS: u64 = 300_000;

/// Most records of one append to the log of a relay.
pub const LOG_BATCH_RECORDS_MAX: usize = 8_192;
/// Most bytes of one append to the log of a relay, as they are written.
pub const LOG_BATCH_BYTES_MAX: usize = 16 << 20;
/// Longest record of the log of a relay, in bytes: its own fields, a stream, a topic and an envelope.
pub const LOG_RECORD_BYTES_MAX: usize =
    64 + IDENTITY_BYTES_MAX + 37 + TOPIC_BYTES_MAX + ENVELOPE_BYTES_MAX;
/// Most segments of the log of a relay.
pub const LOG_SEGMENTS_MAX: usize = 20_000;
/// Streams that the log of a relay knows of; those that were silent for longest are forgotten first.
pub const LOG_STREAMS_MAX: usize = STREAMS_MAX;
/// Most runs of numbers that the log of a relay knows of, all streams together: a stream has one in each
/// segment that it is in, and one more behind each hole. Beyond that the oldest segments are given up.
pub const LOG_RUNS_MAX: usize = 4_000_000;
/// Segments of the log of a relay that are open for reading at one time, each with its index.
pub const LOG_OPEN_SEGMENTS_MAX: usize = 32;
/// Damaged places that are told of one segment of the log of a relay; further ones are counted.
pub const LOG_DAMAGE_MAX: usize = 1_024;
/// How often a reader of the log of a relay begins anew for one answer, because what it read was not there.
pub const LOG_REREADS_MAX: usize = 64;

const _: () = assert!(ENVELOPE_BYTES_MAX > SIGNATURE_CHARS_MAX + HEADERS_MAX * 64);
const _: () = assert!(1 << TREE_PATH_MAX == TREE_LEAVES_MAX);
const _: () = assert!(IDENTITY_BYTES_MAX + "_heartbeat.".len() + 37 <= TOPIC_BYTES_MAX);
const _: () = assert!(PUT_MESSAGES_MAX >= TREE_LEAVES_MAX);
const _: () = assert!(HOLE_MS_MAX > HEARTBEAT_AFTER_BURST_MS);
const _: () = assert!(
    DELIVERED_FILE_BYTES_MAX
        > DELIVERED_RELAYS_MAX * (IDENTITY_BYTES_MAX + 200)
            + DELIVERED_REFUSALS_MAX * (IDENTITY_BYTES_MAX + TEXT_BYTES_MAX + 300)
);
const _: () = assert!(FLOORS_FILE_BYTES_MAX > FLOORS_OF_STREAM_MAX * (WORD_BYTES_MAX + 80));
const _: () = assert!(FLOORS_SAVE_MS < TELL_AGAIN_MS && TELL_AGAIN_MS < FLOOR_MS_MAX);
const _: () = assert!(OUTBOX_BYTES_MIN > 2 * OUTBOX_SEGMENT_BYTES);
const _: () = assert!(PUT_BYTES_MAX >= ENVELOPE_BYTES_MAX + TOPIC_BYTES_MAX);
const _: () = assert!(ANSWER_BYTES_OF_PEER_MAX > 4 * (GET_BYTES_MAX + ENVELOPE_BYTES_MAX) / 2);
const _: () = assert!(WAITING_BYTES_OF_PEER_MAX > PUT_BYTES_MAX);
const _: () = assert!(ANSWER_BYTES_MAX > 2 * ANSWER_BYTES_OF_PEER_MAX);
const _: () = assert!(LETTER_BYTES_MAX as usize >= ENVELOPE_BYTES_MAX);
const _: () = assert!(RETRY_BYTES_MAX as usize >= ENVELOPE_BYTES_MAX);
const _: () = assert!(REFUSALS_OF_STREAM_MAX <= REFUSALS_MAX);
const _: () = assert!(TELLS_MAX < FLIGHTS_MAX);
const _: () = assert!(CONSUMER_NAME_BYTES_MAX <= WORD_BYTES_MAX);
const _: () = assert!(LEASE_MS <= LEASE_MS_MAX);
const _: () = assert!(FORGET_LOOK_MS <= FORGET_FULL_MS && FORGET_FULL_MS <= FORGET_MS);
const _: () = assert!(CURES_OF_STREAM_MAX <= NEEDS_OF_STREAM_MAX);
const _: () = assert!(IN_FLIGHT_BYTES_MAX >= ENVELOPE_BYTES_MAX);
const _: () = assert!(OUTBOX_TABLE_BATCH_BYTES_MAX >= OUTBOX_TABLE_ROW_BYTES_MAX);
const _: () = assert!(OUTBOX_TABLE_ROW_BYTES_MAX > 2 * ENVELOPE_BYTES_MAX as u64);
const _: () = assert!(LOG_BATCH_BYTES_MAX > LOG_RECORD_BYTES_MAX);
const _: () = assert!(LOG_BATCH_RECORDS_MAX <= u16::MAX as usize);
const _: () = assert!(JOURNAL_SEGMENT_BYTES_MAX + (LOG_BATCH_BYTES_MAX as u64) < u32::MAX as u64);
const _: () = assert!(JOURNAL_BATCH_BYTES_MAX > JOURNAL_RECORD_BYTES_MAX);
const _: () =
    assert!(JOURNAL_RESERVE_BYTES > JOURNAL_LAST_WORDS_BYTES_MAX + JOURNAL_HEADER_BYTES_MAX);
const _: () = assert!(
    JOURNAL_INDEX_BYTES_MAX as u64
        > 24 * ((JOURNAL_SEGMENT_BYTES_MAX + JOURNAL_BATCH_BYTES_MAX as u64)
            / JOURNAL_INDEX_STEP_BYTES)
            + 256
);
