//! Which connections a listener has, and which one makes way when there are too many: the one that has waited longest without
//! bringing a whole request. A flood of idle, slow or huge requests so displaces itself, and a normal request, which is
//! whole within milliseconds, is served: none makes way before it had the time to come.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Before this no connection makes way for others, however many wait to be accepted: on a busy machine they are accepted faster than the
/// first bytes of each are read.
const GRACE: Duration = Duration::from_millis(250);

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    pub connections: usize,
    /// Connections of one address, an IPv6 network of 64 bits being one. Not for this machine itself, where a proxy may run.
    pub per_address: usize,
    /// Bytes of bodies that are not whole yet, all connections together.
    pub unfinished: usize,
    /// How long a connection may take until it has brought a whole request, and how long it may stay idle.
    pub patience: Duration,
}

/// The connections of one listener. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionTable {
    limits: ListenerLimits,
    shared: Arc<TableShared>,
}

struct TableShared {
    state: Mutex<TableState>,
    room: Notify,
    arrived: Notify,
}

#[derive(Default)]
struct TableState {
    connections: HashMap<u64, ConnectionRow>,
    next: u64,
}

struct ConnectionRow {
    address: IpAddr,
    /// Cancelled when it has to make way.
    closed: CancellationToken,
    /// Since when it brings its present request; `None` while that is answered.
    waits_since: Option<Instant>,
    /// Bytes of a body that is not whole yet.
    unfinished: usize,
}

/// One connection's place. Given back when the last copy is dropped.
#[derive(Clone)]
pub struct ConnectionPlace(Arc<PlaceGuard>);

struct PlaceGuard {
    table: ConnectionTable,
    number: u64,
    closed: CancellationToken,
}

impl ConnectionTable {
    pub fn new(limits: ListenerLimits) -> Self {
        let shared = TableShared { state: Mutex::default(), room: Notify::new(), arrived: Notify::new() };
        Self { limits, shared: Arc::new(shared) }
    }

    /// Waits until there is room for one more connection, or one that can make way.
    pub async fn has_room(&self) {
        loop {
            let changed = self.shared.room.notified();
            let next = self.shared.state.lock().next_room(self.limits.connections);
            match next {
                NextRoom::At(at) if at <= Instant::now() => return,
                NextRoom::At(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
                NextRoom::Unknown => changed.await,
            }
        }
    }

    /// Waits until there is a connection.
    pub async fn is_occupied(&self) {
        loop {
            let arrived = self.shared.arrived.notified();
            if !self.shared.state.lock().connections.is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// A place for a new connection of this address. `None` where the address has all of its places, and all are in use.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Option<ConnectionPlace> {
        let address = network_of(address);
        let mut state = self.shared.state.lock();
        let same = |row: &ConnectionRow| row.address == address;
        if !address.is_loopback()
            && state.connections.values().filter(|row| same(row)).count() >= self.limits.per_address
            && !state.close_longest_waiting(same)
        {
            return None;
        }
        if state.connections.len() >= self.limits.connections && !state.close_longest_waiting(|_| true) {
            return None;
        }
        let (number, closed) = (state.next, CancellationToken::new());
        state.next += 1;
        let row = ConnectionRow { address, closed: closed.clone(), waits_since: Some(now), unfinished: 0 };
        state.connections.insert(number, row);
        self.shared.arrived.notify_one();
        Some(ConnectionPlace(Arc::new(PlaceGuard { table: self.clone(), number, closed })))
    }

    /// Closes connections that have not brought a whole request in time.
    pub fn close_late(&self, now: Instant) {
        let late = |since: Instant| now.duration_since(since) >= self.limits.patience;
        self.shared.state.lock().close_all(|row| row.waits_since.is_some_and(late));
    }

    /// Closes all connections on which no request is answered.
    pub fn close_waiting(&self) {
        self.shared.state.lock().close_all(|row| row.waits_since.is_some());
    }

    /// Makes one connection close, where there is one without a whole request.
    pub fn close_one(&self) {
        self.shared.state.lock().close_longest_waiting(|_| true);
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shared.state.lock().connections.len()
    }
}

/// When one more connection can be accepted.
enum NextRoom {
    At(Instant),
    /// All connections are being answered.
    Unknown,
}

impl TableState {
    fn next_room(&self, most: usize) -> NextRoom {
        if self.connections.len() < most {
            return NextRoom::At(Instant::now());
        }
        let oldest = self.connections.values().filter_map(|row| row.waits_since).min();
        oldest.map_or(NextRoom::Unknown, |since| NextRoom::At(since + GRACE))
    }

    fn close_longest_waiting(&mut self, eligible: impl Fn(&ConnectionRow) -> bool) -> bool {
        let waiting = self.connections.iter().filter(|(_, row)| eligible(row));
        let since = waiting.filter_map(|(number, row)| Some((row.waits_since?, *number)));
        let Some((_, number)) = since.min() else { return false };
        // Counted out at once, though its task closes it a moment later.
        if let Some(row) = self.connections.remove(&number) {
            row.closed.cancel();
        }
        true
    }

    fn close_all(&mut self, which: impl Fn(&ConnectionRow) -> bool) {
        self.connections.retain(|_, row| {
            let close = which(row);
            if close {
                row.closed.cancel();
            }
            !close
        });
    }

    fn unfinished(&self) -> usize {
        self.connections.values().map(|row| row.unfinished).sum()
    }
}

impl ConnectionPlace {
    /// Done when the connection has to close.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    /// More of a body has come. Closes connections, maybe this one, where all bodies together are too long.
    pub fn body_grew(&self, bytes: usize) {
        let limit = self.0.table.limits.unfinished;
        let mut state = self.0.table.shared.state.lock();
        if let Some(row) = state.connections.get_mut(&self.0.number) {
            row.unfinished += bytes;
        }
        while state.unfinished() > limit && state.close_longest_waiting(|row| row.unfinished > 0) {}
    }

    /// The request is whole: from now until [`Self::is_answered`] the connection does not make way.
    pub fn request_is_whole(&self) {
        self.set(|_| None);
    }

    /// The answer is sent; another request may come. A connection that was refused before it had brought a whole one goes on waiting as
    /// before: a refusal must not put it behind those that came later.
    pub fn is_answered(&self, now: Instant) {
        self.set(|waits_since| waits_since.or(Some(now)));
    }

    fn set(&self, waits_since: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let shared = &self.0.table.shared;
        if let Some(row) = shared.state.lock().connections.get_mut(&self.0.number) {
            row.waits_since = waits_since(row.waits_since);
            row.unfinished = 0;
        }
        shared.room.notify_one();
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        self.table.shared.state.lock().connections.remove(&self.number);
        self.table.shared.room.notify_one();
    }
}

// Whoever has an IPv6 address usually has all 2⁶⁴ addresses of its network.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ListenerLimits =
        ListenerLimits { connections: 4, per_address: 2, unfinished: 100, patience: Duration::from_secs(10) };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_closed(place: &ConnectionPlace) -> bool {
        place.0.closed.is_cancelled()
    }

    #[test]
    fn an_address_displaces_its_own_connections_and_not_those_of_others() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let other = table.admit(ip("192.0.2.9"), now).unwrap();
        let later = |seconds| now + Duration::from_secs(seconds);
        let flood: Vec<_> = (1..=5).map(|at| table.admit(ip("198.51.100.1"), later(at)).unwrap()).collect();
        let closed: Vec<bool> = flood.iter().map(is_closed).collect();
        assert_eq!((closed, is_closed(&other)), (vec![true, true, true, false, false], false));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_one_is_ipv4() {
        assert_eq!(network_of(ip("2001:db8::1")), network_of(ip("2001:db8::ffff:2")));
        assert_ne!(network_of(ip("2001:db8::1")), network_of(ip("2001:db8:0:1::1")));
        assert_eq!(network_of(ip("::ffff:192.0.2.9")), ip("192.0.2.9"));
        assert!(network_of(ip("::1")).is_loopback() && network_of(ip("::ffff:127.0.0.1")).is_loopback());
    }

    #[test]
    fn what_is_being_answered_never_makes_way_and_the_longest_idle_does() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let here: Vec<_> = (0..4).map(|_| table.admit(ip("127.0.0.1"), now).unwrap()).collect();
        here.iter().for_each(ConnectionPlace::request_is_whole);
        assert!(table.admit(ip("127.0.0.1"), now).is_none(), "all are answered now");
        here[2].is_answered(now + Duration::from_secs(2));
        here[1].is_answered(now + Duration::from_secs(1));
        assert!(table.admit(ip("127.0.0.1"), now).is_some());
        assert_eq!(here.iter().map(is_closed).collect::<Vec<_>>(), [false, true, false, false]);
        let away = ip("198.51.100.1");
        let later = now + Duration::from_secs(3);
        let busy: Vec<_> = (0..2).map(|_| table.admit(away, later)).collect();
        busy.iter().flatten().for_each(ConnectionPlace::request_is_whole);
        assert!(table.admit(away, now).is_none(), "one address cannot take all places");
    }

    #[test]
    fn bodies_that_are_too_long_together_displace_the_oldest_of_them() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        let idle = table.admit(ip("127.0.0.1"), now).unwrap();
        let huge = table.admit(ip("127.0.0.1"), later(1)).unwrap();
        let small = table.admit(ip("127.0.0.1"), later(2)).unwrap();
        huge.body_grew(90);
        small.body_grew(5);
        assert!(!is_closed(&huge));
        small.body_grew(6);
        assert_eq!([&idle, &huge, &small].map(is_closed), [false, true, false]);
        small.request_is_whole();
        small.is_answered(now);
        small.body_grew(100);
        assert!(!is_closed(&small), "a whole request counts no more");
    }

    #[test]
    fn who_brings_no_whole_request_in_time_is_closed() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let (idle, busy) = (table.admit(ip("127.0.0.1"), now), table.admit(ip("127.0.0.1"), now));
        let (idle, busy) = (idle.unwrap(), busy.unwrap());
        busy.request_is_whole();
        table.close_late(now + LIMITS.patience / 2);
        assert!(!is_closed(&idle));
        table.close_late(now + LIMITS.patience);
        assert!(is_closed(&idle) && !is_closed(&busy));
        drop((idle, busy));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_connection_that_was_refused_unread_makes_way_before_those_that_came_later() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        let flood: Vec<_> = (0..3).map(|_| table.admit(ip("127.0.0.1"), now).unwrap()).collect();
        let honest = table.admit(ip("127.0.0.1"), later(1)).unwrap();
        flood.iter().for_each(|place| place.is_answered(later(2)));
        let _newer = table.admit(ip("127.0.0.1"), later(3)).unwrap();
        assert!(!is_closed(&honest) && is_closed(&flood[0]));
        honest.request_is_whole();
        honest.is_answered(later(4));
        let _newest: Vec<_> = (0..2).map(|_| table.admit(ip("127.0.0.1"), later(5)).unwrap()).collect();
        assert!(!is_closed(&honest) && flood.iter().all(is_closed));
    }

    #[tokio::test]
    async fn a_full_table_waits_for_room_before_it_accepts() {
        let (table, now) = (ConnectionTable::new(LIMITS), Instant::now());
        let here: Vec<_> = (0..4).map(|_| table.admit(ip("127.0.0.1"), now).unwrap()).collect();
        assert!(futures::FutureExt::now_or_never(table.has_room()).is_none(), "they have just come");
        table.has_room().await;
        assert!(now.elapsed() >= GRACE);
        here.iter().for_each(ConnectionPlace::request_is_whole);
        assert!(futures::FutureExt::now_or_never(table.has_room()).is_none());
        let waiting = tokio::spawn({
            let table = table.clone();
            async move { table.has_room().await }
        });
        tokio::task::yield_now().await;
        here[0].is_answered(now);
        waiting.await.unwrap();
    }
}
