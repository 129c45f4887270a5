//! Producers that stop, die and come back, all or most of them at once, judged from the user's seat with the defaults.
//! Beside each form the same number of people use a plain client, in the same run and with the same producers.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Service, id_of, ms};
use crate::people::{Crowd, PLACES, PersonRequest, Score, Target};
use crate::support::round_robin::RoundRobin;
use crate::support::until::until;

/// People a second, at each form and each baseline.
const RATE: u32 = 20;
/// From the return of the producers to the first good answer.
const BACK_WITHIN: Duration = Duration::from_millis(2500);
/// From then on all is to be as before.
const AS_BEFORE: Duration = Duration::from_secs(4);

/// People at a form that has found the producers by mDNS, at one that has a list of them, and without a form.
struct Crowds(Vec<(&'static str, Crowd)>);

impl Crowds {
    fn new(found: &Service, listed: &Service, producers: &[SocketAddr]) -> Self {
        let crowds = [
            ("found by mDNS", Target::Form(found.addr)),
            ("fixed list", Target::Form(listed.addr)),
            ("round robin", Target::Producers(RoundRobin::new(producers))),
        ];
        let crowds = Self(crowds.map(|(name, target)| (name, Crowd::come(target, RATE))).into());
        sleep(ms(2000)); // every place is kept in the forms, and what is usual is known
        crowds
    }

    /// Waits until people have seen that all is as before, and judges what they got since `fault` began at `began`, and
    /// since all producers were back.
    fn judge(self, fault: &str, began: Instant, back: Instant) {
        sleep(AS_BEFORE + ms(6000));
        let crowds: Vec<_> =
            self.0.into_iter().map(|(name, crowd)| (name, Scores::of(&crowd.end(), began, back))).collect();
        for (name, Scores { during, first, after, later }) in &crowds {
            println!("{fault}, {name}: meanwhile {during}; first current report {first:.1?} after the return");
            println!("{fault}, {name}: after the return {after}; from 4 s on {later}");
        }
        let Some(((_, plain), forms)) = crowds.split_last() else { return };
        for (name, Scores { during, first, later, .. }) in forms {
            assert!(during.asked >= 50, "{name}: that was no load: {during}");
            assert_eq!(
                during.good + during.kept,
                during.asked,
                "{name}: each place is known, so no question gets an error"
            );
            assert!(*first <= BACK_WITHIN, "{name}: first current report {first:?} after the return");
            let (later, of_plain) = (later.good_percent(), plain.later.good_percent());
            assert!(
                later >= 98.0 && later >= of_plain - 1.0,
                "{name}: {later:.1} % from 4 s on, baseline {of_plain:.1} %"
            );
        }
    }
}

/// Answers that people got, by the time of their questions.
struct Scores {
    /// Questions while the producers were away.
    during: Score,
    /// From their return to the first current report.
    first: Duration,
    /// Questions after their return.
    after: Score,
    /// Questions from [`AS_BEFORE`] on.
    later: Score,
}

impl Scores {
    fn of(asked: &[PersonRequest], began: Instant, back: Instant) -> Self {
        let good = asked.iter().filter(|one| one.is_good() && one.answered_at() > back);
        let first = good.map(PersonRequest::answered_at).min().expect("a current report");
        let since = |from: Instant| Score::of(asked.iter().filter(move |one| one.at >= from));
        let during = Score::of(asked.iter().filter(|one| (began..back).contains(&one.at)));
        Self { during, first: first - back, after: since(back), later: since(back + AS_BEFORE) }
    }
}

#[test]
fn all_producers_stop_for_three_seconds_and_people_get_current_reports_as_soon_as_they_go_on() {
    let (cluster, producers, found) = Cluster::with_producers::<3>("stop");
    let addrs = producers.each_ref().map(|one| one.addr);
    let listed = cluster.consumer_of(&addrs);
    let crowds = Crowds::new(&found, &listed, &addrs);
    let began = Instant::now();
    producers.iter().for_each(|one| one.signal("STOP"));
    sleep(ms(3000));
    producers.iter().for_each(|one| one.signal("CONT"));
    crowds.judge("all stop for 3 s", began, Instant::now());
}

#[test]
fn all_producers_are_killed_and_people_get_current_reports_as_soon_as_they_are_started_at_the_same_ports() {
    let cluster = Cluster::new("restart");
    let start = |listen: &str| cluster.producer(listen, &[]);
    let mut producers = ["127.0.0.1:0"; 3].map(start);
    let addrs = producers.each_ref().map(|one| one.addr);
    let (found, listed) = (cluster.consumer(&[]), cluster.consumer_of(&addrs));
    until("all producers are found", || found.finds("producer") == addrs.len());
    let crowds = Crowds::new(&found, &listed, &addrs);
    let began = Instant::now();
    producers.iter_mut().for_each(Service::kill);
    sleep(ms(10_000));
    let _producers = addrs.map(|addr| start(&addr.to_string()));
    crowds.judge("all killed for 10 s", began, Instant::now());
}

#[test]
fn five_of_seven_producers_stop_and_people_are_answered_by_the_two_that_are_left() {
    let (_cluster, producers, form) = Cluster::with_producers::<7>("five");
    let addrs = producers.each_ref().map(|one| one.addr);
    let crowds = [Target::Form(form.addr), Target::Producers(RoundRobin::new(&addrs))];
    let crowds = crowds.map(|target| Crowd::come(target, RATE));
    sleep(ms(2000));
    let stopped = Instant::now();
    producers.iter().take(5).for_each(|one| one.signal("STOP"));
    sleep(ms(30_000));
    let since = |asked: Vec<PersonRequest>| Score::of(asked.iter().filter(|one| one.at >= stopped));
    let [form, plain] = crowds.map(|crowd| since(crowd.end()));
    println!("5 of 7 stop, form: {form}\n5 of 7 stop, round robin: {plain}");
    assert!(form.asked >= 580, "that was no load: {form}");
    assert!(form.asked - form.good <= form.asked / 100, "{form}");
    assert!(form.good_percent() >= plain.good_percent() - 1.0, "{form}; baseline {plain}");
}

#[test]
fn one_of_three_producers_stops_for_five_seconds_and_has_its_share_back_six_seconds_after() {
    let (_cluster, producers, form) = Cluster::with_producers::<3>("one");
    let addrs = producers.each_ref().map(|one| one.addr);
    let (_, report) = form.report(PLACES[0]);
    let victim = producers.iter().find(|one| report["served_by"] == id_of(one).as_str()).expect("one of the three");
    let id = id_of(victim);
    let crowds = [Target::Form(form.addr), Target::Producers(RoundRobin::new(&addrs))];
    let crowds = crowds.map(|target| Crowd::come(target, RATE));
    sleep(ms(3000));
    let stopped = Instant::now();
    victim.signal("STOP");
    sleep(ms(5000));
    let back = Instant::now();
    victim.signal("CONT");
    sleep(ms(12_000));
    let [asked, plain] = crowds.map(Crowd::end);
    let share = |of: &dyn Fn(&PersonRequest) -> bool| {
        let these: Vec<_> = asked.iter().filter(|one| of(one)).collect();
        these.iter().filter(|one| one.by() == id).count() as f64 / these.len() as f64
    };
    let before = share(&|one| one.at < stopped);
    let after = share(&|one| one.at >= back + ms(6000));
    let during = |asked: &[PersonRequest]| Score::of(asked.iter().filter(|one| (stopped..back).contains(&one.at)));
    let (score, of_plain) = (during(&asked), during(&plain));
    println!("1 of 3 stops, form: {score}; its share {before:.2} before, {after:.2} from 6 s on");
    println!("1 of 3 stops, round robin: {of_plain}");
    assert!(score.asked >= 90, "that was no load: {score}");
    assert!(
        score.good_percent() >= 99.0 && score.good_percent() >= of_plain.good_percent() - 1.0,
        "{score}; baseline {of_plain}"
    );
    assert!(after >= before * 0.75, "its share was {before:.2} before, and is {after:.2}");
}
