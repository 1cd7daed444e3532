//! The file: its mode, its schema, and what happens when it is full, locked, damaged or read-only.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forge_schemas::record::{ApprovalVerdict, Record};
use sqlx::{Connection, Row, SqliteConnection};

use super::index::{decision, outcome};
use crate::approval::error::ApprovalError;
use crate::approval::state::State;
use crate::approval::tests::fixture::{
    FakeClock, Folder, Journal, World, claim, finance, new_approval, service,
};
use crate::store::migrate::KNOWN;
use crate::store::sqlite::{Settings, SqliteStore};
use crate::store::{Store, StoreFault, open, sqlite_path};

/// Runs SQL on the file, beside the store.
pub(crate) async fn run(file: &Path, sql: &'static str) {
    let mut connection = connect(file).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn connect(file: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", file.display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn fault_of_opening(settings: Settings) -> StoreFault {
    SqliteStore::open(settings).await.unwrap_err().fault
}

#[tokio::test]
async fn the_file_and_what_sqlite_puts_beside_it_are_ours_alone() {
    let world = World::sqlite().await;
    world.asked().await;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["forge.db", "forge.db-shm", "forge.db-wal"]);
}

#[tokio::test]
async fn a_file_that_others_could_read_is_taken_away_from_them() {
    let folder = Folder::new();
    std::fs::write(folder.file(), b"").unwrap();
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    SqliteStore::open(Settings::new(folder.file())).await.unwrap();
    let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn connections_have_the_pragmas_that_durability_rests_on() {
    let folder = Folder::new();
    let store = SqliteStore::open(Settings::new(folder.file())).await.unwrap();
    let pragma = async |pool: &sqlx::SqlitePool, sql: &'static str| {
        let row = sqlx::query(sql).fetch_one(pool).await.unwrap();
        row.try_get::<i64, _>(0).map_or_else(|_| row.get::<String, _>(0), |value| value.to_string())
    };
    let (durable, relaxed, readers) = store.test_pools();
    for pool in [durable, relaxed, readers] {
        assert_eq!(pragma(pool, "PRAGMA journal_mode").await, "wal");
        assert_eq!(pragma(pool, "PRAGMA foreign_keys").await, "1");
        assert_eq!(pragma(pool, "PRAGMA busy_timeout").await, "5000");
    }
    assert_eq!(pragma(durable, "PRAGMA synchronous").await, "2");
    assert_eq!(pragma(relaxed, "PRAGMA synchronous").await, "1");
    assert!(sqlx::query("DELETE FROM calls").execute(readers).await.is_err());
}

#[tokio::test]
async fn migrations_go_up_down_and_up_again() {
    let folder = Folder::new();
    let settings = Settings::new(folder.file());
    SqliteStore::open(settings.clone()).await.unwrap().close().await;
    let schema = schema(&folder.file()).await;
    let status = SqliteStore::migrations(&settings).await.unwrap();
    assert_eq!(status.len(), usize::try_from(KNOWN).unwrap());
    assert!(status.iter().all(|step| step.applied_at.is_some()));
    for to in (0..KNOWN).rev() {
        SqliteStore::migrate_down(&settings, to).await.unwrap();
        let status = SqliteStore::migrations(&settings).await.unwrap();
        let applied = status.iter().filter(|step| step.applied_at.is_some()).count();
        assert_eq!(i64::try_from(applied).unwrap(), to);
    }
    let left: Vec<String> = self::schema(&folder.file()).await;
    assert!(left.iter().all(|sql| sql.contains("schema_migrations")), "{left:?}");
    SqliteStore::open(settings).await.unwrap().close().await;
    assert_eq!(self::schema(&folder.file()).await, schema);
}

async fn schema(file: &Path) -> Vec<String> {
    let mut connection = connect(file).await;
    let rows = sqlx::query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_store_of_a_newer_gateway_is_refused_and_not_touched() {
    let folder = Folder::new();
    let settings = Settings::new(folder.file());
    SqliteStore::open(settings.clone()).await.unwrap().close().await;
    run(&folder.file(), "INSERT INTO schema_migrations VALUES (99, 'x', 'sha256:', 0)").await;
    for read_only in [false, true] {
        let settings = Settings { read_only, ..settings.clone() };
        let fault = fault_of_opening(settings).await;
        assert_eq!(fault, StoreFault::Newer { found: 99, known: KNOWN });
    }
    SqliteStore::migrate_down(&settings, 0).await.unwrap_err();
}

#[tokio::test]
async fn a_store_whose_migrations_are_others_is_refused() {
    let folder = Folder::new();
    let settings = Settings::new(folder.file());
    SqliteStore::open(settings.clone()).await.unwrap().close().await;
    run(&folder.file(), "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1").await;
    assert_eq!(fault_of_opening(settings).await, StoreFault::Migration(1));
}

#[tokio::test]
async fn an_old_store_is_not_migrated_by_a_reader() {
    let folder = Folder::new();
    let settings = Settings::new(folder.file());
    SqliteStore::open(settings.clone()).await.unwrap().close().await;
    SqliteStore::migrate_down(&settings, 1).await.unwrap();
    let fault = fault_of_opening(Settings { read_only: true, ..settings }).await;
    assert_eq!(fault, StoreFault::Older { found: 1, known: KNOWN });
}

#[tokio::test]
async fn a_migration_that_does_not_fit_leaves_the_version_before_it() {
    let folder = Folder::new();
    let settings = Settings::new(folder.file());
    let small = Settings { bytes_max: Some(9 * 4096), ..settings.clone() };
    assert_eq!(fault_of_opening(small).await, StoreFault::Full);
    let status = SqliteStore::migrations(&settings).await.unwrap();
    assert!(status.iter().all(|step| step.applied_at.is_none()), "{status:?}");
    SqliteStore::open(settings).await.unwrap();
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = Folder::new();
    std::fs::write(folder.file(), "not a database at all, but long enough to look at".repeat(99))
        .unwrap();
    assert_eq!(fault_of_opening(Settings::new(folder.file())).await, StoreFault::Corrupt);
    let missing = Settings::new(folder.path().join("no/such/folder/forge.db"));
    assert_eq!(fault_of_opening(missing).await, StoreFault::Unavailable);
    let a_folder = Settings::new(folder.path().into());
    assert_eq!(fault_of_opening(a_folder).await, StoreFault::Unavailable);
    let none = Settings { read_only: true, ..Settings::new(folder.path().join("none.db")) };
    assert_eq!(fault_of_opening(none).await, StoreFault::Unavailable);
}

#[tokio::test]
async fn many_processes_may_open_a_new_file_at_once() {
    let folder = Folder::new();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        opening.spawn(SqliteStore::open(Settings::new(folder.file())));
    }
    for store in opening.join_all().await {
        store.unwrap();
    }
}

/// A world whose store has these settings, on a file that has an approval already.
async fn world_with(change: impl FnOnce(&mut Settings)) -> (World, World) {
    let first = World::sqlite().await;
    let mut settings = Settings::new(first.folder.file());
    change(&mut settings);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(settings).await.unwrap());
    let clock: Arc<FakeClock> = Arc::clone(&first.clock);
    let journal = Arc::new(Journal::default());
    let approvals = service(&store, &clock, journal.recorder(&store), "node-1");
    let folder = Folder::new();
    (first, World { approvals, clock, journal, store, folder })
}

fn fault_of(error: &ApprovalError) -> &StoreFault {
    let ApprovalError::Store(error) = error else { panic!("{error:?}") };
    &error.fault
}

#[tokio::test]
async fn a_read_only_store_refuses_every_change_and_still_answers() {
    let (first, world) = world_with(|settings| settings.read_only = true).await;
    let asked = first.asked().await;
    let request = world.approvals.request(new_approval("alice", "[2]")).await.unwrap_err();
    let approve = ApprovalVerdict::Approve;
    let vote = world.vote(&asked, &finance("bob"), approve).await.unwrap_err();
    let cancel = world.approvals.cancel(&asked.id).await.unwrap_err();
    for error in [request, vote, cancel] {
        assert_eq!(fault_of(&error), &StoreFault::ReadOnly);
        assert_eq!(error.code(), "store.read_only");
    }
    let index = world.store.index(&[decision(0, "call_1")]).await.unwrap_err();
    assert_eq!(index.fault, StoreFault::ReadOnly);
    assert_eq!(world.store.health().await.unwrap_err().fault, StoreFault::ReadOnly);
    assert_eq!(world.store.approval(&asked.id).await.unwrap(), Some(asked));
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let (first, world) = world_with(|settings| settings.bytes_max = Some(320 * 1024)).await;
    let asked = first.asked().await;
    let large = format!("[\"{}\"]", "x".repeat(400_000));
    for _ in 0..10 {
        let full = world.approvals.request(new_approval("alice", &large)).await.unwrap_err();
        assert_eq!(fault_of(&full), &StoreFault::Full);
        assert_eq!(full.code(), "store.full");
    }
    let waiting = world.store.waiting_approvals(&asked.tenant, &asked.subject).await.unwrap();
    assert_eq!(waiting, (1, 1));
    // The next step that fits is taken: nothing is stuck.
    let after = world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    assert_eq!(after.state, State::Approved);
    let page = |seq| decision(seq, &format!("call_{seq}"));
    let many: Vec<Record> = (0..2000).map(page).collect();
    let error = world.store.index(&many).await.unwrap_err();
    assert_eq!(error.fault, StoreFault::Full);
    assert_eq!(world.store.indexed().await.unwrap(), []);
    assert_eq!(claim(&world.approvals, &after).await.unwrap().approval.state, State::Executing);
}

#[tokio::test]
async fn a_store_that_another_process_holds_is_busy_and_then_free_again() {
    let (first, world) =
        world_with(|settings| settings.busy_timeout = Duration::from_millis(50)).await;
    let asked = first.asked().await;
    let mut holder = connect(&first.folder.file()).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let vote = world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap_err();
    assert_eq!(fault_of(&vote), &StoreFault::Busy);
    assert_eq!(world.store.health().await.unwrap_err().fault, StoreFault::Busy);
    // Reading goes on all the while.
    assert_eq!(world.store.approval(&asked.id).await.unwrap(), Some(asked.clone()));
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    world.store.health().await.unwrap();
    world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
}

#[tokio::test]
async fn a_row_that_this_version_did_not_write_is_named() {
    let world = World::sqlite().await;
    let asked = world.asked().await;
    run(&world.folder.file(), "UPDATE approvals SET digest = 'x'").await;
    let error = world.store.approval(&asked.id).await.unwrap_err();
    assert_eq!(error.fault, StoreFault::Row("digest"));
}

#[tokio::test]
async fn two_open_rows_with_one_join_key_are_impossible() {
    let world = World::sqlite().await;
    world.asked().await;
    let mut connection = connect(&world.folder.file()).await;
    let copy = "INSERT INTO approvals SELECT 'ap_2', tenant, call, session, evaluation_id, \
                subject_id, subject_issuer, subject_kind, agent, server, tool, schema_digest, \
                policy_revision, message_digest, arguments_digest, arguments_bytes, digest, \
                join_key, terms, display, state, version, created_at, expires_at, approved_at, \
                execute_by, used, max_uses, node FROM approvals";
    let error = sqlx::raw_sql(copy).execute(&mut connection).await.unwrap_err();
    assert!(error.as_database_error().unwrap().is_unique_violation());
}

#[tokio::test]
async fn what_is_old_is_pruned_and_what_is_open_stays() {
    let world = World::sqlite().await;
    let ended = world.asked().await;
    world.approvals.cancel(&ended.id).await.unwrap();
    let open_one = world.approvals.request(new_approval("alice", "[2]")).await.unwrap().approval;
    world.store.index(&[decision(0, "call_1"), outcome(1, "call_1")]).await.unwrap();
    assert_eq!(world.store.prune(1, 100).await.unwrap(), 0);
    assert_eq!(world.store.prune(i64::MAX, 100).await.unwrap(), 2);
    assert_eq!(world.store.approval(&ended.id).await.unwrap(), None);
    assert_eq!(world.store.parcel(&ended.id).await.unwrap(), None);
    assert!(world.store.parcel(&open_one.id).await.unwrap().is_some());
}

#[tokio::test]
async fn no_question_of_the_index_reads_the_whole_table() {
    let world = World::sqlite().await;
    let mut connection = connect(&world.folder.file()).await;
    for sql in [
        "SELECT * FROM calls WHERE tenant = 'a' AND (at, call) < (5, 'x') ORDER BY at DESC, call DESC",
        "SELECT c.tenant, c.call FROM index_positions t CROSS JOIN calls c \
         ON c.tenant = t.tenant AND c.at < 5 LIMIT 9",
        "SELECT 1 FROM approvals WHERE join_key = 'x' AND state IN ('pending', 'approved', 'executing')",
        "SELECT 1 FROM approvals WHERE (state = 'pending' AND expires_at <= 5) \
         OR (state = 'approved' AND execute_by <= 5)",
        "SELECT count(*) FROM approval_records WHERE approval = 'x' AND kind = 'approval.executed'",
        "SELECT count(*) FROM approvals WHERE state = 'pending' AND tenant = 'a' \
         AND subject_issuer = 'b' AND subject_id = 'c'",
    ] {
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        for row in plan {
            let step: String = row.get("detail");
            let whole = step.starts_with("SCAN ") && !step.contains("COVERING INDEX");
            assert!(!whole || step == "SCAN t", "{sql}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

#[tokio::test]
async fn urls_name_files() {
    for (url, wanted) in [
        ("sqlite://forge.db", Some("forge.db")),
        ("sqlite:///var/forge.db", Some("/var/forge.db")),
        ("sqlite:forge.db", Some("forge.db")),
        ("sqlite://", None),
        ("sqlite://forge.db?mode=memory", None),
        ("postgres://db", None),
        ("forge.db", None),
    ] {
        assert_eq!(sqlite_path(url).ok(), wanted.map(Into::into), "{url}");
    }
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.file().display());
    open(&url).await.unwrap().health().await.unwrap();
}
