//! A real Redis that has too little memory, or may not tell.

use backstop_harness::Redis;

use super::*;
use crate::store::Config as StoreConfig;

/// Filled with senders until it gives some up, as it is set.
struct Full {
    redis: Redis,
    store: Store,
}

impl Full {
    async fn start(policy: &str) -> Self {
        let redis = Redis::start();
        redis.command(&["config", "set", "maxmemory-policy", policy]);
        let store = open(&redis.url()).await;
        Self { redis, store }
    }

    fn evicted(&self) -> u64 {
        let info = self.redis.command(&["info", "stats"]);
        let count = info.lines().find_map(|line| line.trim().strip_prefix("evicted_keys:"));
        count.expect("it tells").parse().expect("a number")
    }

    /// A stolen account writes in many names.
    async fn flood(&self, host: &Host) {
        let info = self.redis.command(&["info", "memory"]);
        let used = info.lines().find_map(|line| line.trim().strip_prefix("used_memory:")).expect("it tells");
        let used: u64 = used.parse().expect("a number");
        self.redis.command(&["config", "set", "maxmemory", &(used + 300_000).to_string()]);
        let mut n = 0;
        while self.evicted() == 0 {
            for _ in 0..500 {
                n += 1;
                host.0.note(&address(&format!("user{n}@example.com")));
            }
            host.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
            assert!(n < 100_000, "it never gets full");
        }
    }
}

async fn open(url: &str) -> Store {
    let config = StoreConfig { url: url.parse().expect("valid"), ..StoreConfig::default() };
    Store::open(&config, store::Metrics::register(&Registry::default())).await.expect("nothing to read")
}

#[tokio::test]
async fn what_it_gives_up_is_a_gap() {
    for policy in ["volatile-ttl", "allkeys-lru", "allkeys-random"] {
        let full = Full::start(policy).await;
        Host::start(&full.store, NOW - 15 * DAY).await.note("anna@example.com").await;
        let host = Host::start(&full.store, NOW - 60).await;
        assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::No, "{policy}");
        full.flood(&host).await;
        // At once: the secrets may be gone as well.
        let found = host.bounce(&["bob@example.com"], NOW).await;
        assert!(matches!(found, Solicited::Evicted | Solicited::StoreDown), "{policy}: {found:?}");
        // A process that was not there meanwhile finds it, too.
        full.redis.command(&["config", "set", "maxmemory", "0"]);
        let other = Host::start(&full.store, NOW).await;
        assert_eq!(other.since(), Some(NOW), "{policy}");
        assert_eq!(other.bounce(&["bob@example.com"], NOW).await, Solicited::Learning, "{policy}");
        // From there it goes on.
        other.beat(NOW + 60).await;
        assert_eq!(other.since(), Some(NOW), "{policy}");
        let later = NOW + 14 * DAY;
        assert_eq!(other.bounce(&["bob@example.com"], later).await, Solicited::No, "{policy}");
    }
}

/// What it gave up before it ended nobody knows, unless it keeps everything.
#[tokio::test]
async fn a_redis_that_is_started_anew_may_have_given_something_up() {
    for (maxmemory, since) in [("0", NOW - 15 * DAY), ("1000000000", NOW)] {
        let mut full = Full::start("volatile-ttl").await;
        full.redis.command(&["config", "set", "maxmemory", maxmemory]);
        Host::start(&full.store, NOW - 15 * DAY).await.note("anna@example.com").await;
        let kept = [
            "secrets:bounces/secret",
            "secrets:bounces/since",
            "secrets:bounces/evictions",
            "secrets:bounces/terms",
        ];
        let dumps: Vec<String> = kept.iter().map(|key| dump(&full.redis, key)).collect();
        full.redis.kill();
        full.redis.resume();
        full.redis.command(&["config", "set", "maxmemory-policy", "volatile-ttl", "maxmemory", maxmemory]);
        for (key, dump) in kept.iter().zip(dumps) {
            restore(&full.redis, key, &dump);
        }
        let store = open(&full.redis.url()).await;
        let host = Host(Bounces::new(
            &enforce(),
            &Shared::new(store.clone(), Metrics::register(&Registry::default())),
            &Delimiters::default(),
            Vec::new(),
        ));
        let ttl = REMEMBER;
        let alive = Alive { at: NOW, process: 1 }.encode();
        let put = Op::Put { key: host.0.shared.senders.alive_key(), value: alive, ttl };
        store.run(&[put]).await.expect("it answers");
        host.beat(NOW).await;
        assert_eq!(host.since(), Some(since), "maxmemory {maxmemory}");
    }
}

/// A user that may not ask for INFO.
#[tokio::test]
async fn where_it_does_not_tell_nobody_is_unsolicited() {
    let redis = Redis::start();
    redis.command(&["acl", "setuser", "default", "-info"]);
    let store = open(&redis.url()).await;
    Host::start(&store, NOW - 15 * DAY).await;
    let host = Host::start(&store, NOW - 60).await;
    assert_eq!(host.since(), Some(NOW - 15 * DAY));
    host.note("anna@example.com").await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Evicted);
    assert_eq!(host.bounce(&["anna@example.com"], NOW).await, Solicited::Wrote);
    let notices = host.0.notices();
    assert!(notices.len() == 1 && notices[0].contains("allow INFO"), "{notices:?}");
    // Nobody knows what happened before it told.
    redis.command(&["acl", "setuser", "default", "+info"]);
    host.beat(NOW).await;
    assert_eq!(host.since(), Some(NOW));
    host.beat(NOW + 60).await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW + 14 * DAY).await, Solicited::No);
}

/// As hexadecimal digits, for [`restore`].
fn dump(redis: &Redis, key: &str) -> String {
    const SCRIPT: &str = "return (redis.call('GET', KEYS[1]):gsub('.', function(c) return string.format('%02x', c:byte()) end))";
    redis.command(&["eval", SCRIPT, "1", &format!("backstop:{key}")])
}

fn restore(redis: &Redis, key: &str, dump: &str) {
    const SCRIPT: &str = "local v = ARGV[1]:gsub('..', function(h) return string.char(tonumber(h, 16)) end) \
        return redis.call('SET', KEYS[1], v, 'PX', '100000000')";
    assert_eq!(redis.command(&["eval", SCRIPT, "1", &format!("backstop:{key}"), dump]), "OK", "{key}");
}
