"""Every limit of the product: its name, its unit, and how it relates to its neighbours.

A limit lives here and nowhere else; ``docs/limits.md`` is compared with this module by a test.
What an operator may change is a setting (``settings.py``) whose default comes from here.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- at the door -------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 16 * MIB
"""Largest request body; beyond it 413. It is also the largest inbox row."""
BODIES_BYTES_MAX: Final = 128 * MIB
"""Bytes of all request bodies that one API process holds at a time; beyond it 429."""
BODY_VALUES_MAX: Final = 1_000_000
"""Values in a request body; more would take tens of times its size to read, and get 413."""
EVENT_BYTES_MAX: Final = 1 * MIB
"""Largest single event as it was sent; beyond it 400."""
EVENTS_PER_REQUEST_MAX: Final = 1_000
USAGES_PER_REQUEST_MAX: Final = 100
ID_CHARS_MAX: Final = 255
"""Characters of a customer, feature, resource, plan… id, an event name or an idempotency key."""
NUMBER_LITERAL_CHARS_MAX: Final = 255
"""Characters of one JSON number; longer literals are refused rather than computed with."""
ERRORS_LISTED_MAX: Final = 20
"""Bad events named in one 400 answer."""
FUTURE_SECONDS_MAX: Final = 24 * 3600
"""How far ahead of the clock a timestamp may be (default of a setting)."""
BODY_AT_ONCE_BYTES_MAX: Final = 256 * KIB
"""Larger bodies of events and usage reports are validated on a thread, so that they do not hold up
everyone else."""
PAGE_ITEMS_MAX: Final = 100
PAGE_ITEMS_DEFAULT: Final = 20
IMPORT_ITEMS_MAX: Final = 1_000
"""Customers or subscriptions that one request brings in."""
TRIAL_DURATION_MAX: Final = 1_000
"""Days or months that the trial of a plan lasts at most."""
API_KEY_CHARS_MIN: Final = 16
API_KEYS_CACHED_MAX: Final = 10_000
"""Keys that one thread remembers; beyond it it forgets them all."""
API_KEY_RECENT_SECONDS: Final = 0.002
"""How long a key is taken for what it was when it was looked up, before the store is asked."""
REPLAY_HOURS: Final = 24
"""How long an ``Idempotency-Key`` header is answered as the first time."""
ENTITY_CALLS_PER_MINUTE: Final = 30
"""Changes of one customer's or subscription's subscriptions in any minute, as Stigg documents;
beyond it 429 (default of a setting)."""
ENTITY_CALLS_SWEPT_MAX: Final = 10
"""Calls older than a minute that each further one removes: more than one, so that they end."""
USAGE_INTEGER_MAX: Final = 9_007_199_254_740_991
"""Largest magnitude of a reported integer (2**53 - 1), as Stigg documents."""
USAGE_FRACTION_MAX: Final = 34_359_738_368
"""A reported value with a fraction must be smaller in magnitude than this (2**35)."""
USAGE_DECIMALS: Final = 5
QUANTITY_DECIMALS: Final = 9
QUANTITY_MAGNITUDE_MAX: Final = 10**18
"""Event values of this magnitude and more are skipped by meters."""
METER_FILTERS_MAX: Final = 16
METER_CONDITIONS_MAX: Final = 32
"""Conditions of all filters of one meter. Each step of the fold plans every meter that its events
concern, which takes DuckDB up to 3 ms a condition, and more than that when there are many."""
METER_VALUES_MAX: Final = 1_000
"""Values that all conditions of one meter compare with."""
METER_BYTES_MAX: Final = 64 * KIB
"""A meter as JSON."""

# --- duplicates --------------------------------------------------------------------------------
DEDUPE_WINDOW_DAYS_MIN: Final = 7
DEDUPE_WINDOW_DAYS_DEFAULT: Final = 35
DEDUPE_BUCKETS_PER_WINDOW: Final = 8
"""A key outlives the window by at most one bucket, an eighth of the window."""
KEY_FILTER_MEMORY_BYTES_MAX: Final = 192 * MIB
"""Bloom filters kept in memory; the filters of further runs are mapped from disk."""

# --- inbox -------------------------------------------------------------------------------------
INBOX_BYTES_MAX: Final = 2048 * MIB
"""Accepted but not yet counted bytes; beyond it 429 (default of a setting)."""
INBOX_ROWS_REMOVED_MAX: Final = 5_000
"""Folded requests that one transaction removes, so that accepting gets its turn."""
FOLD_BYTES_PER_SECOND: Final = 16 * MIB
"""How fast a full inbox is taken to drain, to tell when to come back."""
RETRY_AFTER_SECONDS_MAX: Final = 60
"""Longest wait a refused caller is told; Stigg's SDK ignores longer ones."""
COMMIT_GROUP_MAX: Final = 512
"""Requests that share one commit."""
REPORTS_WAITING_MAX: Final = 1_000_000
"""Usage reports that wait to be archived; beyond it 429. A busy server takes minutes to make so
many while no worker runs; ordinary ones are some 200 MB, read whole in a third of a second."""
LOOP_WEIGHT_MAX: Final = 64
"""What one transaction may hold up the event loop with: usage reports, or events in 16 KiB."""
STORE_BUSY_SECONDS_MAX: Final = 5.0
"""How long a write waits for another writer before the caller is told 503."""

# --- a database server --------------------------------------------------------------------------
DATABASE_CONNECT_SECONDS_MAX: Final = 3
"""How long a new connection may take; beyond it the server is unavailable."""
DATABASE_SILENT_SECONDS_MAX: Final = 5
"""How long the network may be silent before a connection is taken for lost."""
DATABASE_IDLE_SECONDS_MAX: Final = 10
"""A transaction in which nothing was asked for so long is ended by the server: who was stopped in
the middle of a write holds nobody up for longer."""
READERS_MAX: Final = 4
"""Threads of one API process that wait for its answers, each with a connection of its own."""
COMMIT_OUTCOME_SECONDS_MAX: Final = 20.0
"""How long a server is asked what became of a commit that it did not answer."""

# --- fold --------------------------------------------------------------------------------------
STEP_EVENTS_MIN: Final = 1_000
STEP_EVENTS_MAX: Final = 100_000
STEP_BYTES_MAX: Final = 32 * MIB
"""Bytes of inbox rows in one step; at least one row always fits."""
STEP_COUNTERS_TARGET: Final = 30_000
"""Standing counters one step aims to write, some 2 us each, so that its transaction stays short."""
STEP_COUNTERS_MAX: Final = 37_500
"""What would write more is folded in smaller steps, down to one request."""
STEP_NEW_COUNTER_WEIGHT: Final = 7
"""For how many standing counters one counts that is new, some 20 us."""
STEP_KNOWN_COUNTER_WEIGHT: Final = 2
"""For how many of them a UNIQUE counter counts whose row is remembered, 6 us each."""
STEP_ALONE_EVENTS_MAX: Final = 400_000
"""The same of an import without a server, where nobody waits for a step: what a step costs however
many events it has, and the counters that they share, are shared by more of them."""
STEP_ALONE_COUNTERS_MAX: Final = 300_000
STEP_MEASURES_MAX: Final = 3
"""How often a step is measured while rules change under it, before it gets smaller; a small one is
then measured with the store held, where nothing changes."""
TRICKLE_SECONDS_MAX: Final = 0.12
"""How long a few events may wait for company before they are folded: a step costs some 50 ms of
processor however small it is, and reports and checks want that core too; but reports wait for the
counters of a step to be written, longer the longer it gathered."""
TRICKLE_EVENTS_MAX: Final = 20_000
"""More events than this wait for no company."""
STEP_ATTEMPTS_MAX: Final = 5
"""Attempts that may end the process before a single request is set aside as poison."""
SLOTS_MAX: Final = 120_000
"""Counters of customers that the fold remembers with their rules."""
REPORTS_PER_STEP_MAX: Final = 20_000
"""Waiting reports that one step archives."""
REPORTS_WAIT_SECONDS: Final = 1.0
"""How long fewer reports wait for company, so that files do not get tiny."""
RECOUNT_STEP_ROWS_MAX: Final = 400_000
"""Archived events one recount step reads, so that the fold gets its turn."""
RECOUNT_STEP_ROWS_FIRST: Final = 25_000
"""Archived events the first step of a run reads; what it touches says how many the next may."""
RECOUNT_STEP_ROWS_MIN: Final = 100
"""Archived events one recount step always may read, whatever they touch."""
RECOUNT_STEP_COUNTERS_MAX: Final = 4_000
"""Counters that one recount step may touch, so that its write transaction stays short."""
RECOUNT_STEP_SECONDS_AIM: Final = 0.5
"""How long a recount step may last before the next reads half as much, since the fold waits for
it; but never less than the first step, or a machine that is slow for everybody would stall it."""
RECOUNTS_TOGETHER_MAX: Final = 2_000
"""Recounts of single customers that one reading of the archive serves."""
RECOUNT_CHANGES_MAX: Final = 100
"""Customers that the end of a run names one by one; caches forget everyone after more."""
RECOUNT_ATTEMPTS_MAX: Final = 5
"""Attempts at one step of a recount before it is run with fewer others, and then set aside."""

# --- objects -----------------------------------------------------------------------------------
OBJECT_BUSY_EVENTS_MAX: Final = 20_000
"""Records of an object that are counted at once while the API is busy: what comes in by requests
waits until that is done."""
API_BUSY_REQUESTS_PER_SECOND: Final = 20
"""More requests than this and the API is busy; monitors and people who look send fewer."""
OBJECT_PIECE_BYTES: Final = 32 * MIB
"""Decompressed bytes of an object that are cut into records at once; two pieces wait at most."""
OBJECT_PIECE_LINES_MAX: Final = 500_000
"""Lines that are cut at once: a blank one takes a byte of a piece, and dozens to be told apart."""
OBJECT_CLOSER_ROWS_MAX: Final = 5_000
"""Records of an object that are read one by one in one step, some 50 us each; of a file in which
all are odd, a step takes no more."""
OBJECT_TRIES_MAX: Final = 5
"""How often a bucket that cannot be had is tried, each after a longer while, till others go on."""
OBJECT_WAIT_SECONDS: Final = 0.01
"""How long a step waits for what is being read, so that a fast disk need not be asked again."""
REJECT_SHARE_MAX: Final = 0.1
"""The share of bad records beyond which an object is stopped (default of a source's setting)."""
REJECTS_FREE: Final = 100
"""Bad records of an object that stop nothing, whatever their share."""
RUN_IGNORED_SHOWN_MAX: Final = 100
"""Names that are left alone which a run shows; it counts them all."""
RUN_REASONS_MAX: Final = 50
"""Different reasons for refused records that a run tells apart; the others it counts together."""
RUN_OBJECTS_SHOWN_MAX: Final = 1_000
"""Objects that one answer about a run names; its numbers are of all."""
RUN_DAYS_KEPT: Final = 90
"""How long a run that ended is kept, with the file of what it refused."""
RUNS_KEPT_MIN: Final = 20
"""Newest runs of a source that are kept however old they are."""
SOURCES_MAX: Final = 1_000
"""Sources of one environment; beyond it 400."""
SOURCE_BYTES_MAX: Final = 64 * KIB
"""The settings of a source as JSON; beyond it 400."""
CHECKS_TOGETHER_MAX: Final = 4
"""Checks of sources that one API process has under way; beyond it 429."""
SOURCE_LATE_SECONDS: Final = 300
"""How long after its time a source may not have been looked at before ``/ready`` calls it late."""

# --- archive -----------------------------------------------------------------------------------
ARCHIVE_MERGE_FANOUT: Final = 32
"""Neighbouring files that are worth merging: a full step's events are then merged once, and a
history still opens few small files (docs/decisions/0009)."""
ARCHIVE_MERGE_FILES_MAX: Final = 4 * ARCHIVE_MERGE_FANOUT
ARCHIVE_FILES_PATIENT_MAX: Final = 800
"""More files than this are merged even while the fold has a backlog."""
ARCHIVE_FILE_ROWS_MAX: Final = 8_000_000
KEY_MERGE_FANOUT: Final = 8
KEY_SUMMARY_DOUBLED_MAX: Final = 16_000_000
"""Up to so many keys a new summary has room for as many again (24 MB), so that each key is put into
few of them while the set grows fast; beyond, for half as many."""
KEY_STEP_KEYS: Final = 500_000
"""Keys that one step merges, some 50 ms of work, or takes into a summary, some 20 ms."""
SWEEP_STEP_ROWS: Final = 10_000
"""Counters that one step looks through for replaced ones."""
UNIQUES_FORGOTTEN_SECONDS: Final = 600.0
"""How often, at most, values of UNIQUE are looked through for counters that are gone."""
TEND_SECONDS: Final = 0.5
"""How often the stores' own upkeep runs."""
TIDY_SECONDS: Final = 5.0
"""How often expiry and garbage are looked for."""
REPLACED_FILE_SECONDS_KEPT: Final = 900
"""Replaced files outlive the longest allowed query by a wide margin."""
EXPIRED_ROWS_PER_STEP: Final = 2_000
"""Rows that one transaction of upkeep deletes, so that nobody waits for it."""
CHANGES_KEPT: Final = 100_000
"""Rows of ``changes`` kept; a cache that stands further back starts anew."""

# --- objects -----------------------------------------------------------------------------------
OBJECT_SETTLED_SECONDS: Final = 10
"""How long a file of a watched folder must be unchanged before it is read."""
OBJECTS_SETTLING_MAX: Final = 10_000
"""Files changed a moment ago for which a run waits until they have settled; the next run finds the
others."""
OBJECT_RANGE_BYTES: Final = 8 * MIB
"""Bytes of an object that one request asks for."""
OBJECT_RANGES_AHEAD: Final = 2
"""Ranges of one object that are asked for before they are needed: the wire is never idle then."""
OBJECT_CONNECT_SECONDS_MAX: Final = 5
OBJECT_REQUEST_SECONDS_MAX: Final = 60
"""How long one range may take, and how long one is tried for before the bucket is unavailable."""
OBJECT_RETRIES_MAX: Final = 4
"""How often a request is repeated at once when a bucket throttles, fails or is unreachable."""
OBJECT_EXPANSION_MAX: Final = 500
"""How many times its size a compressed object may become; gzip cannot exceed twice as much."""
OBJECT_EXPANSION_FREE_BYTES: Final = 64 * MIB
"""Decompressed bytes before the expansion is looked at: small objects of one repeated line are
harmless."""
OBJECT_WINDOW_BYTES_MAX: Final = 128 * MIB
"""How far back a zstd frame may refer, which is what reading it takes of memory: what zstd itself
allows unless asked for more."""
SCHEDULE_SECONDS_MIN: Final = 60
"""Shortest interval at which a source is looked at."""

# --- reading -----------------------------------------------------------------------------------
HISTORY_SERIES_MAX: Final = 1_000
HISTORY_POINTS_MAX: Final = 200_000
"""Points of one history answer over all its series."""
HISTORY_GROUP_KEYS_MAX: Final = 10
"""Dimensions that one history is split by."""
QUERY_SECONDS_MAX: Final = 30
QUERY_CONCURRENCY_MAX: Final = 1
QUERY_QUEUE_MAX: Final = 16
"""Queries that wait for their turn; beyond it 429."""
QUERY_MEMORY_MIB_MAX: Final = 256
QUERY_FETCH_ROWS: Final = 2_000
"""Rows turned into Python at once; between two fetches other threads get their turn."""
VERIFY_MEMORY_MIB: Final = 512
VERIFY_RANGE_CUSTOMERS: Final = 2_000
"""Customers whose counters are compared together, so that memory does not grow with all."""
DIFFERENCES_LISTED_MAX: Final = 100
"""Differences of an environment that a verification names; it counts them all."""
SYNC_SECONDS_MAX: Final = 60
SYNC_SECONDS_DEFAULT: Final = 10.0
HOURLY_HISTORY_DAYS_MAX: Final = 7

# --- processes ---------------------------------------------------------------------------------
DRAIN_SECONDS_MAX: Final = 9.0
"""From SIGTERM to the end of a server; what is not done then is killed. Docker waits for 10 s."""
DRAIN_REQUEST_SECONDS_MAX: Final = 6
"""How long an API process that was told to end waits for requests in flight."""
DRAIN_UPKEEP_SECONDS_MAX: Final = 1.0
"""How long a worker that was told to end waits for a merge that it is in the middle of."""
OWNER_WAIT_SECONDS_MAX: Final = 5.0
"""How long a new owner of a data folder waits for a dying one."""
CONNECTIONS_WAITING_MAX: Final = 2_048
"""Connections that wait to be accepted; the system may allow fewer."""
READY_SECONDS_MAX: Final = 30
"""How old the counters may be before ``/ready`` says that the server is not: the worker advances
the freshness within a second when idle."""
STARTS_FAILED_MAX: Final = 5
"""Crashes of one child before the server was ever ready; then the start has failed."""
STEADY_SECONDS_MIN: Final = 3.0
"""A child that ran this long is restarted as if it had never failed."""
RESTART_SECONDS_MIN: Final = 0.1
RESTART_SECONDS_MAX: Final = 5.0
"""A child that ends is started again after the lesser, doubled each time up to the greater."""
IDLE_SECONDS_MIN: Final = 0.02
IDLE_SECONDS_MAX: Final = 0.05
"""How long the worker waits before it looks again when nothing was to do."""

# --- rules in memory ---------------------------------------------------------------------------
RULES_CUSTOMERS_MAX: Final = 50_000
"""Customers whose rules one thread keeps; the least recently used go first."""
RULES_ANSWERS_MAX: Final = 500_000
"""What was worked out of those rules, for features of customers and of their resources, that one
thread keeps; beyond it it forgets all of it."""
RULES_PACKAGES_MAX: Final = 5_000
"""Plans and add-ons whose versions one thread keeps beside those customers'."""
RULES_ENVIRONMENTS_MAX: Final = 256
RULES_CHANGES_FOLLOWED_MAX: Final = 10_000
"""Changes a cache follows one by one; after more of them it starts anew."""
RECALCULATED_TOGETHER_MAX: Final = 10_000
"""Customers, resources and features whose reports one recalculation has in memory at once."""
METERS_COMPILED_MAX: Final = 4_096
"""Meters whose SQL one process keeps."""

assert BODY_BYTES_MAX <= BODIES_BYTES_MAX, "one body always fits"
assert EVENT_BYTES_MAX < BODY_BYTES_MAX < STEP_BYTES_MAX < INBOX_BYTES_MAX
assert STEP_EVENTS_MIN >= EVENTS_PER_REQUEST_MAX, "one request always fits a step"
assert STEP_EVENTS_MAX >= STEP_EVENTS_MIN
assert RECOUNT_STEP_ROWS_MIN <= RECOUNT_STEP_ROWS_FIRST <= RECOUNT_STEP_ROWS_MAX
assert STEP_COUNTERS_TARGET < STEP_COUNTERS_MAX, "a step that meets its aim is not begun anew"
assert USAGES_PER_REQUEST_MAX <= REPORTS_PER_STEP_MAX <= REPORTS_WAITING_MAX
assert ENTITY_CALLS_SWEPT_MAX > 1, "calls are removed faster than they come"
assert DATABASE_CONNECT_SECONDS_MAX < COMMIT_OUTCOME_SECONDS_MAX, "it can be asked more than once"
assert RETRY_AFTER_SECONDS_MAX >= 60, "who waits as long as told finds the minute over"
assert SYNC_SECONDS_DEFAULT <= SYNC_SECONDS_MAX
assert PAGE_ITEMS_DEFAULT <= PAGE_ITEMS_MAX
assert DEDUPE_WINDOW_DAYS_MIN <= DEDUPE_WINDOW_DAYS_DEFAULT
assert RULES_CHANGES_FOLLOWED_MAX < CHANGES_KEPT, "who follows finds every change"
assert OBJECT_CONNECT_SECONDS_MAX < OBJECT_REQUEST_SECONDS_MAX
assert EVENT_BYTES_MAX < OBJECT_RANGE_BYTES, "a range holds whole records"
assert QUERY_SECONDS_MAX * 4 <= REPLACED_FILE_SECONDS_KEPT
assert DRAIN_REQUEST_SECONDS_MAX + DRAIN_UPKEEP_SECONDS_MAX < DRAIN_SECONDS_MAX
assert RESTART_SECONDS_MIN < RESTART_SECONDS_MAX
assert IDLE_SECONDS_MIN < IDLE_SECONDS_MAX
