//! Real child processes, well-behaved and hostile.

use super::*;
use forge_schemas::refusal::RefusalCode;

#[tokio::test]
async fn modern_call_comes_back_with_its_own_id() {
    let bench = stdio("");
    for id in [json!("a\"b"), json!(7), json!(-1)] {
        let answer = bench.ask(tool(&id, "echo", &json!({"n": 1}))).await.unwrap();
        assert_eq!(answer["id"], id);
        assert_eq!(said(&answer), r#"{"n": 1}"#);
    }
    assert_eq!(bench.one.health().processes, 1);
    assert_eq!(bench.one.health().era, Some(Era::Modern));
    bench.end().await;
}

#[tokio::test]
async fn bytes_beside_the_ids_stay_as_they_are() {
    let bench = stdio("");
    let body = "{ \"jsonrpc\":\"2.0\",\r\n \"params\" : {\"name\":\"echo\",\"arguments\":{\"x\":1e2,\"y\":12345678901234567890123}}, \"id\" :  \"q\",\"method\":\"tools/call\"}";
    let mut out = tool(&json!("q"), "echo", &json!({}));
    out.body = Bytes::from_static(body.as_bytes());
    let answer = bench.ask(out).await.unwrap();
    assert_eq!(said(&answer), r#"{"x": 100.0, "y": 12345678901234567890123}"#);
    bench.end().await;
}

#[tokio::test]
async fn principals_never_share_a_process_and_one_keeps_its_own() {
    let bench = stdio("");
    let pid = async |principal: &str| {
        let out = tool(&json!(1), "pid", &json!({}));
        let answer = bench.ask(Outgoing { principal: principal.to_owned(), ..out }).await.unwrap();
        said(&answer).to_owned()
    };
    let (alice, bob, again) = (pid("alice").await, pid("bob").await, pid("alice").await);
    assert_ne!(alice, bob);
    assert_eq!(alice, again);
    bench.end().await;
}

#[tokio::test]
async fn modern_request_to_a_legacy_server_is_a_400_that_makes_clients_fall_back() {
    for mode in ["legacy", "silent"] {
        let mut settings = hostile(mode);
        settings.probe_timeout = Duration::from_secs(2);
        let bench = Bench::new(Transport::Stdio(settings), Limits::default(), Vec::new());
        let incoming = bench.send(ask(&json!("d"), "server/discover", &json!({}))).await.unwrap();
        assert_eq!(incoming.status, 400);
        let answer = answer(incoming).await.unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("d"), &json!(-32600)));
        assert_eq!(bench.one.health().era, Some(Era::Legacy));
        let session = bench.session().await;
        let out = within(&session, tool(&json!(1), "echo", &json!({"a": 1})));
        assert_eq!(said(&bench.ask(out).await.unwrap()), r#"{"a": 1}"#);
        bench.end().await;
    }
}

#[tokio::test]
async fn each_legacy_session_is_a_process_and_belongs_to_its_principal() {
    let bench = stdio("legacy+early");
    let (one, two) = (bench.session().await, bench.session().await);
    assert_eq!(bench.one.health().sessions, 2);
    let pid = async |session: &str| {
        let answer = bench.ask(within(session, tool(&json!(1), "pid", &json!({})))).await.unwrap();
        said(&answer).to_owned()
    };
    assert_ne!(pid(&one).await, pid(&two).await);

    let stolen = within(&one, tool(&json!(1), "pid", &json!({})));
    let stolen = Outgoing { principal: "mallory".to_owned(), ..stolen };
    assert_eq!(bench.send(stolen).await.unwrap().status, 404);
    let without = legacy(tool(&json!(1), "pid", &json!({})));
    assert_eq!(bench.send(without).await.unwrap().status, 400);

    let end = Outgoing {
        verb: Verb::Delete,
        kind: MessageKind::None,
        body: Bytes::new(),
        ..initialize()
    };
    assert_eq!(bench.send(within(&one, end)).await.unwrap().status, 200);
    let after = within(&one, tool(&json!(1), "pid", &json!({})));
    assert_eq!(bench.send(after).await.unwrap().status, 404);
    assert_eq!(bench.one.health().sessions, 1);
    bench.end().await;
}

#[tokio::test]
async fn unrelated_messages_go_to_the_get_stream_even_if_it_opens_later() {
    let bench = stdio("legacy+early");
    let session = bench.session().await;
    let get =
        Outgoing { verb: Verb::Get, kind: MessageKind::None, body: Bytes::new(), ..initialize() };
    let get = Outgoing { method: String::new(), ..within(&session, get) };
    let Body::Events(mut events) = bench.send(get).await.unwrap().body else { panic!("no stream") };
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(value(&first.data)["method"], "notifications/tools/list_changed");
    let poke = within(&session, note("notifications/poke", &json!({})));
    assert_eq!(bench.send(poke).await.unwrap().status, 202);
    let second = events.next().await.unwrap().unwrap();
    assert_eq!(value(&second.data)["method"], "notifications/tools/list_changed");
    bench.end().await;
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn progress_comes_back_with_the_clients_token() {
    let bench = stdio("progress");
    let incoming = bench.send(tool(&json!("p"), "fault", &json!({}))).await.unwrap();
    let seen = messages(incoming).await.unwrap();
    let tokens: Vec<_> = seen.iter().filter_map(|m| m["params"].get("progressToken")).collect();
    assert_eq!(tokens, [&json!("tok"), &json!("tok")]);
    assert_eq!(seen[2]["method"], "notifications/message");
    assert_eq!(seen[3]["id"], "p");
    assert_eq!(bench.one.health().counts.unknown_id, 1);
    bench.end().await;
}

#[tokio::test]
async fn server_request_goes_to_the_newest_stream_and_its_answer_back() {
    let bench = stdio("legacy+ask");
    let session = bench.session().await;
    let incoming =
        bench.send(within(&session, tool(&json!(5), "fault", &json!({})))).await.unwrap();
    let Body::Events(mut events) = incoming.body else { panic!("no stream") };
    let question = value(&events.next().await.unwrap().unwrap().data);
    assert_eq!(
        (&question["id"], &question["method"]),
        (&json!("q-1"), &json!("sampling/createMessage"))
    );
    let reply = json!({"jsonrpc": "2.0", "id": "q-1", "result": {"role": "assistant"}});
    let reply = within(&session, outgoing(MessageKind::Response, "", &reply));
    assert_eq!(bench.send(reply).await.unwrap().status, 202);
    let last = value(&events.next().await.unwrap().unwrap().data);
    assert_eq!((&last["id"], said(&last)), (&json!(5), r#"{"role": "assistant"}"#));
    assert!(events.next().await.is_none());
    bench.end().await;
}

#[tokio::test]
async fn modern_servers_question_is_dropped() {
    let bench = stdio("ask");
    bench.ask(tool(&json!(0), "echo", &json!({}))).await.unwrap();
    let out = tool(&json!(5), "fault", &json!({}));
    let out = Outgoing { deadline: Duration::from_secs(3), ..out };
    let error = bench.ask(out).await.unwrap_err();
    assert_eq!(error.code(), RefusalCode::UpstreamTimeout);
    assert_eq!(bench.one.health().counts.out_of_place, 1);
    bench.end().await;
}

#[tokio::test]
async fn subscription_carries_the_clients_id_everywhere() {
    let bench = stdio("");
    let incoming =
        bench.send(ask(&json!("sub"), "subscriptions/listen", &json!({}))).await.unwrap();
    let seen = messages(incoming).await.unwrap();
    let key = "io.modelcontextprotocol/subscriptionId";
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0]["params"]["_meta"][key], "sub");
    assert_eq!(seen[1]["params"]["_meta"][key], "sub");
    assert_eq!((&seen[2]["id"], &seen[2]["result"]["_meta"][key]), (&json!("sub"), &json!("sub")));
    bench.end().await;
}

#[tokio::test]
async fn endless_subscription_outlives_its_deadline_and_is_cancelled_when_dropped() {
    let bench = stdio("endless");
    // The process is there, so that the deadline is for the stream alone.
    bench.ask(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    let out = ask(&json!("sub"), "subscriptions/listen", &json!({}));
    let out = Outgoing { deadline: Duration::from_millis(1500), ..out };
    let Body::Events(mut events) = bench.send(out).await.unwrap().body else { panic!("no stream") };
    events.next().await.unwrap().unwrap();
    events.next().await.unwrap().unwrap();
    let wait = tokio::time::timeout(Duration::from_millis(1700), events.next()).await;
    assert!(wait.is_err(), "the stream is still open");
    drop(events);
    let seen = bench.ask(tool(&json!(2), "seen", &json!({}))).await.unwrap();
    assert_ne!(said(&seen), "[]");
    bench.end().await;
}

#[tokio::test]
async fn legacy_cancellation_names_the_childs_id() {
    let bench = stdio("legacy+mute");
    let session = bench.session().await;
    let stuck = bench.send(within(&session, tool(&json!("mine"), "fault", &json!({}))));
    let steps = async {
        until(|| bench.one.health().in_flight == 1).await;
        // The answer to this one shows that the stuck one was written.
        bench.ask(within(&session, tool(&json!(2), "echo", &json!({})))).await.unwrap();
        let cancel = note("notifications/cancelled", &json!({"requestId": "mine", "reason": "x"}));
        assert_eq!(bench.send(within(&session, cancel)).await.unwrap().status, 202);
        let seen = bench.ask(within(&session, tool(&json!(3), "seen", &json!({})))).await.unwrap();
        assert_eq!(said(&seen), "[2]");
        let none = note("notifications/cancelled", &json!({"requestId": "never"}));
        assert_eq!(bench.send(within(&session, none)).await.unwrap().status, 202);
    };
    tokio::select! {
        _ = stuck => panic!("it never answers"),
        () = steps => {}
    }
    bench.end().await;
}

#[tokio::test]
async fn cancelling_nothing_starts_nothing() {
    let bench = stdio("");
    let cancel = note("notifications/cancelled", &json!({"requestId": 1}));
    assert_eq!(bench.send(cancel).await.unwrap().status, 202);
    assert_eq!(bench.one.health().counts.starts, 0);
    let other = note("notifications/poke", &json!({}));
    assert_eq!(bench.send(other).await.unwrap().status, 202);
    assert_eq!(bench.one.health().counts.starts, 1);
    bench.end().await;
}

#[tokio::test]
async fn garbage_is_counted_and_kills_nothing() {
    let bench = stdio("garbage");
    let answer = bench.ask(tool(&json!(1), "fault", &json!({}))).await.unwrap();
    assert_eq!(said(&answer), "after garbage");
    assert_eq!(bench.one.health().counts.garbage, 5);
    bench.end().await;
}

#[tokio::test]
async fn second_and_foreign_answers_are_dropped_and_counted() {
    let bench = stdio("twice");
    let first = bench.ask(tool(&json!(1), "fault", &json!({}))).await.unwrap();
    assert_eq!(said(&first), "first");
    until(|| bench.one.health().counts.answered_twice == 1).await;
    bench.end().await;

    let bench = stdio("foreign");
    let mine = bench.ask(tool(&json!(1), "fault", &json!({}))).await.unwrap();
    assert_eq!(said(&mine), "mine");
    assert_eq!(bench.one.health().counts.unknown_id, 2);
    bench.end().await;
}

#[tokio::test]
async fn hostile_answers_are_refused_and_the_next_call_works() {
    for (mode, code) in [
        ("huge", RefusalCode::UpstreamSize),
        ("broken", RefusalCode::UpstreamInvalid),
        ("die", RefusalCode::UpstreamLost),
        ("mute", RefusalCode::UpstreamTimeout),
    ] {
        let bench = stdio(mode);
        bench.ask(tool(&json!(0), "echo", &json!({}))).await.unwrap();
        let out = tool(&json!(1), "fault", &json!({}));
        let seconds = if mode == "mute" { 2 } else { 60 };
        let out = Outgoing { deadline: Duration::from_secs(seconds), ..out };
        let error = bench.ask(out).await.unwrap_err();
        assert_eq!((mode, error.code(), error.sent()), (mode, code, true));
        let after = bench.ask(tool(&json!(2), "echo", &json!({"x": 1}))).await.unwrap();
        assert_eq!(said(&after), r#"{"x": 1}"#);
        let counts = bench.one.health().counts;
        assert_eq!(counts.crashes, u64::from(mode == "die"));
        if mode == "die" {
            assert!(bench.one.stderr_tail().contains("Traceback"));
            assert!(counts.stderr_bytes > 0);
        }
        bench.end().await;
    }
}

#[tokio::test]
async fn abandoned_request_is_cancelled_and_its_late_answer_dropped() {
    let bench = stdio("slow");
    bench.ask(tool(&json!(0), "echo", &json!({}))).await.unwrap();
    let cancel = CancellationToken::new();
    let out = tool(&json!(1), "fault", &json!({"seconds": 1}));
    let incoming = bench.send(Outgoing { cancel: cancel.clone(), ..out }).await.unwrap();
    let Body::Events(mut events) = incoming.body else { panic!("no stream") };
    events.next().await.unwrap().unwrap();
    cancel.cancel();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.sent()), (RefusalCode::Cancelled, true));
    assert!(events.next().await.is_none());
    until(|| bench.one.health().counts.late == 1).await;
    let seen = bench.ask(tool(&json!(2), "seen", &json!({}))).await.unwrap();
    assert_eq!(said(&seen), "[3]");
    bench.end().await;
}

#[tokio::test]
async fn write_to_a_child_that_does_not_read_ends_with_the_deadline() {
    let bench = stdio("deaf");
    bench.ask(tool(&json!(0), "echo", &json!({}))).await.unwrap();
    let stuck = tool(&json!(1), "fault", &json!({}));
    let stuck = Outgoing { deadline: Duration::from_secs(2), ..stuck };
    let big = "z".repeat(1024 * 1024);
    let (one, two) = tokio::join!(bench.ask(stuck.clone()), async {
        until(|| bench.one.health().in_flight == 1).await;
        let out = tool(&json!(2), "echo", &json!({"big": big}));
        let first = bench.ask(Outgoing { deadline: Duration::from_secs(2), ..out.clone() });
        let second = bench.ask(Outgoing { deadline: Duration::from_secs(2), ..out });
        tokio::join!(first, second)
    });
    assert_eq!(one.unwrap_err().code(), RefusalCode::UpstreamTimeout);
    let (first, second) = (two.0.unwrap_err(), two.1.unwrap_err());
    let mut sent = [first.sent(), second.sent()];
    sent.sort_unstable();
    assert_eq!(sent, [false, true], "one was begun, the other never left: {first:?} {second:?}");
    let other = Outgoing { principal: "bob".to_owned(), ..tool(&json!(3), "echo", &json!({})) };
    bench.ask(other).await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn process_that_stays_silent_is_replaced() {
    let bench = stdio("deaf");
    let pid =
        async || said(&bench.ask(tool(&json!(1), "pid", &json!({}))).await.unwrap()).to_owned();
    let before = pid().await;
    for _ in 0..3 {
        let stuck = tool(&json!(1), "fault", &json!({}));
        let stuck = Outgoing { deadline: Duration::from_millis(100), ..stuck };
        assert_eq!(bench.ask(stuck).await.unwrap_err().code(), RefusalCode::UpstreamTimeout);
    }
    assert_ne!(pid().await, before);
    bench.end().await;
}

#[tokio::test]
async fn crashed_session_is_unknown_afterwards() {
    let bench = stdio("legacy+die");
    let session = bench.session().await;
    let call = within(&session, tool(&json!(1), "fault", &json!({})));
    assert_eq!(bench.ask(call.clone()).await.unwrap_err().code(), RefusalCode::UpstreamLost);
    let after = bench.send(call).await.unwrap();
    assert_eq!(after.status, 404);
    assert_eq!(answer(after).await.unwrap()["id"], 1);
    bench.end().await;
}

#[tokio::test]
async fn log_messages_go_only_to_who_asked() {
    let bench = stdio("progress");
    let mut out = tool(&json!("p"), "fault", &json!({}));
    let body = String::from_utf8(out.body.to_vec()).unwrap();
    out.body = body.replace("logLevel", "other").into();
    let seen = messages(bench.send(out).await.unwrap()).await.unwrap();
    assert!(seen.iter().all(|message| message["method"] != "notifications/message"));
    assert_eq!(bench.one.health().counts.out_of_place, 1);
    bench.end().await;
}

#[tokio::test]
async fn flooded_stream_keeps_its_answer_and_drops_notifications() {
    let bench = stdio("flood");
    let incoming = bench.send(tool(&json!(1), "fault", &json!({}))).await.unwrap();
    until(|| bench.one.health().counts.dropped > 0).await;
    let seen = messages(incoming).await.unwrap();
    assert_eq!(said(seen.last().unwrap()), "flooded");
    let dropped = bench.one.health().counts.dropped;
    assert_eq!(u64::try_from(seen.len()).unwrap() + dropped, 1001);
    bench.end().await;
}

#[tokio::test]
async fn program_that_dies_at_once_is_not_started_in_a_loop() {
    let bench = stdio("crash");
    let mut codes = Vec::new();
    for _ in 0..8 {
        let error = bench.ask(tool(&json!(1), "echo", &json!({}))).await.unwrap_err();
        assert!(!error.sent());
        codes.push(error.code());
    }
    assert!(codes.iter().all(|code| *code == RefusalCode::UpstreamUnavailable), "{codes:?}");
    let health = bench.one.health();
    assert!(health.counts.starts <= 5, "{health:?}");
    bench.end().await;
}

#[tokio::test]
async fn command_that_does_not_exist_is_unavailable() {
    let settings = StdioSettings::new("/nonexistent/server");
    let bench = Bench::new(Transport::Stdio(settings), Limits::default(), Vec::new());
    for out in [initialize(), tool(&json!(1), "echo", &json!({}))] {
        let error = bench.ask(out).await.unwrap_err();
        assert_eq!((error.code(), error.sent()), (RefusalCode::UpstreamUnavailable, false));
    }
    assert_eq!(bench.one.health().failures, 2);
    bench.end().await;
}

#[tokio::test]
async fn initialize_refused_by_a_modern_server_opens_no_session() {
    let bench = stdio("refuse");
    let incoming = bench.send(initialize()).await.unwrap();
    assert_eq!((incoming.status, incoming.session.as_deref()), (200, None));
    assert_eq!(answer(incoming).await.unwrap()["error"]["code"], -32022);
    until(|| bench.one.health().processes == 0).await;
    bench.end().await;
}

#[tokio::test]
async fn server_that_dies_of_initialize_was_sent_nothing_that_matters() {
    let bench = stdio("crash");
    let error = bench.send(initialize()).await.unwrap_err();
    assert_eq!((error.code(), error.sent()), (RefusalCode::UpstreamUnavailable, false));
    bench.end().await;
}

#[tokio::test]
async fn open_circuit_leaves_sessions_alone() {
    let limits = Limits { circuit_failures: 1, ..Limits::default() };
    let bench = Bench::new(Transport::Stdio(hostile("legacy+second_crashes")), limits, Vec::new());
    let session = bench.session().await;
    assert!(bench.send(initialize()).await.is_err());
    assert_eq!(bench.one.health().circuit, Circuit::Open);
    bench.ask(within(&session, tool(&json!(1), "echo", &json!({})))).await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn process_that_leaves_the_group_does_not_hold_up_the_end() {
    let bench = stdio("escape");
    let answer = bench.ask(tool(&json!(1), "pid", &json!({}))).await.unwrap();
    let leader: u32 = said(&answer).parse().unwrap();
    let escaped = answer["result"]["grandchild"].as_u64().unwrap();
    let before = tokio::time::Instant::now();
    bench.end().await;
    assert!(!is_running(leader));
    assert!(before.elapsed() < Duration::from_secs(8));
    std::process::Command::new("kill").args(["-9", &escaped.to_string()]).status().unwrap();
}

#[tokio::test]
async fn limits_of_processes_and_of_calls_are_refusals() {
    for limits in [
        Limits { sessions_max: 1, ..Limits::default() },
        Limits { principal_sessions_max: 1, ..Limits::default() },
    ] {
        let bench = Bench::new(Transport::Stdio(hostile("legacy")), limits, Vec::new());
        let session = bench.session().await;
        let error = bench.send(initialize()).await.unwrap_err();
        assert_eq!(error.code(), RefusalCode::LimitSessions);
        let other = Outgoing { principal: "bob".to_owned(), ..initialize() };
        assert_eq!(bench.send(other).await.is_ok(), limits.sessions_max > 1);
        bench.one.end_session(&session).await;
        bench.session().await;
        bench.end().await;
    }

    let wait = Duration::from_millis(50);
    let limits = Limits { concurrent_max: 1, wait, ..Limits::default() };
    let bench = Bench::new(Transport::Stdio(hostile("mute")), limits, Vec::new());
    let stuck = bench.send(tool(&json!(1), "fault", &json!({})));
    let refused = async {
        until(|| bench.one.health().in_flight == 1).await;
        bench.send(tool(&json!(2), "echo", &json!({}))).await.unwrap_err().code()
    };
    tokio::select! {
        _ = stuck => panic!("it never answers"),
        code = refused => assert_eq!(code, RefusalCode::LimitConcurrency),
    }
    bench.end().await;
}

#[tokio::test]
async fn idle_process_ends_and_comes_back() {
    let mut settings = hostile("");
    settings.idle = Duration::from_millis(100);
    let bench = Bench::new(Transport::Stdio(settings), Limits::default(), Vec::new());
    bench.ask(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    until(|| bench.one.health().processes == 0).await;
    assert_eq!(bench.one.health().counts.crashes, 0);
    bench.ask(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    assert_eq!(bench.one.health().counts.starts, 2);
    bench.end().await;
}

#[tokio::test]
async fn environment_is_only_what_was_given() {
    let mut settings = hostile("");
    settings.env.insert("TOKEN".into(), "t".into());
    let shown = format!("{settings:?}");
    assert!(shown.contains("TOKEN") && !shown.contains("\"t\""));
    let bench = Bench::new(Transport::Stdio(settings), Limits::default(), Vec::new());
    let answer = bench.ask(tool(&json!(1), "environment", &json!({}))).await.unwrap();
    let seen: BTreeMap<String, String> = serde_json::from_str(said(&answer)).unwrap();
    // Python itself adds LC_CTYPE in some locales.
    let names: Vec<_> = seen.keys().filter(|key| *key != "LC_CTYPE").collect();
    assert_eq!(names, ["LANG", "PATH", "TOKEN"]);
    bench.end().await;
}

#[tokio::test]
async fn shutdown_leaves_nothing_of_a_stubborn_group() {
    let bench = stdio("stubborn");
    let answer = bench.ask(tool(&json!(1), "pid", &json!({}))).await.unwrap();
    let leader: u32 = said(&answer).parse().unwrap();
    let grandchild = u32::try_from(answer["result"]["grandchild"].as_u64().unwrap()).unwrap();
    assert!(is_running(leader) && is_running(grandchild));
    bench.all.shutdown(Duration::from_millis(400)).await;
    until(|| !is_running(leader) && !is_running(grandchild)).await;
    let error = bench.ask(tool(&json!(2), "echo", &json!({}))).await.unwrap_err();
    assert_eq!(error.code(), RefusalCode::LimitDraining);
}

#[tokio::test]
async fn dropping_the_servers_ends_their_processes() {
    let bench = stdio("stubborn");
    let answer = bench.ask(tool(&json!(1), "pid", &json!({}))).await.unwrap();
    let grandchild = u32::try_from(answer["result"]["grandchild"].as_u64().unwrap()).unwrap();
    drop(bench);
    until(|| !is_running(grandchild)).await;
}

#[tokio::test]
async fn catalog_has_every_page_of_either_era() {
    for (mode, era, version) in
        [("", Era::Modern, "2026-07-28"), ("legacy", Era::Legacy, "2025-11-25")]
    {
        let bench = stdio(mode);
        let catalog = bench.one.catalog().await.unwrap();
        assert_eq!((catalog.era, catalog.version.as_str()), (era, version));
        let names: Vec<_> = catalog.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["echo", "pid", "fault"]);
        let info: Value = serde_json::from_str(catalog.server_info.unwrap().get()).unwrap();
        assert_eq!(info["name"], "hostile");
        assert_eq!(bench.one.health().sessions, 0);
        bench.end().await;
    }
}
