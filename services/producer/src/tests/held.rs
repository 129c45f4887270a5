//! `Cache-Control: only-if-cached`: an answer from what is held, at once, without a call to the weather API.

use bramble_weather::{Code, Report, Source};
use surf::http::{Request, Response};

use super::fake::{Behaviour, Bench, NOT_FOUND};
use super::{DOWN, GOOD, error_of, header};

async fn get(bench: &Bench, zip: &str, cache_control: &str) -> Response {
    let mut request = Request::get(format!("http://producer/weather?zip={zip}&country=DE").as_str());
    request.insert_header("cache-control", cache_control);
    bench.send(request).await
}

#[test]
fn a_fresh_report_is_given_and_another_place_is_not_asked_for() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.get("/weather?zip=70569&country=DE").await;
        for written in
            ["only-if-cached", "Only-If-Cached", "max-age=60, only-if-cached", "no-transform ,only-if-cached,"]
        {
            let mut response = get(&bench, "70569", written).await;
            let report: Report = response.body_json().await.expect("a report");
            assert_eq!((u16::from(response.status()), report.source), (200, Source::Cache), "{written}");

            let mut response = get(&bench, "1", written).await;
            let error = error_of(&mut response).await;
            assert_eq!((u16::from(response.status()), error.code), (504, Code::NotCached), "{written}");
            assert_eq!((header(&response, "retry-after").as_str(), error.retry_after), ("", None));
        }
        assert_eq!(bench.calls(), 1);
        assert_eq!(u16::from(get(&bench, "1", "no-cache").await.status()), 200, "any other directive asks as ever");
        assert_eq!(bench.calls(), 2);
    });
}

#[test]
fn an_old_report_is_not_given_and_begins_no_refresh() {
    let bench = Bench::new(GOOD);
    bench.run(async {
        bench.ask("70569", 0).await.expect("a report");
        let query = bramble_weather::Query::parse("70569", Some("DE")).expect("a question");
        assert_eq!(bench.weather.held(&query, bench.at(599)).expect("fresh").age_s, Some(599));
        for second in [600, 700, 90_000] {
            assert_eq!(bench.weather.held(&query, bench.at(second)).expect_err("old").code, Code::NotCached);
        }
        assert_eq!(bench.calls(), 1);
    });
}

#[test]
fn a_fetch_under_way_is_not_waited_for() {
    let bench = Bench::new(Behaviour::Wait);
    bench.run(async {
        let mut asking = Box::pin(bench.ask("70569", 0));
        assert!(smol::future::poll_once(&mut asking).await.is_none());
        assert_eq!(u16::from(get(&bench, "70569", "only-if-cached").await.status()), 504);
        bench.release(GOOD);
        asking.await.expect("a report");
    });
}

#[test]
fn that_a_place_is_unknown_is_held_too_and_that_the_api_failed_is_not() {
    for (does, status) in [(Behaviour::Answer(404, NOT_FOUND), 404), (DOWN, 504)] {
        let bench = Bench::new(does);
        bench.run(async {
            bench.get("/weather?zip=70569&country=DE").await;
            assert_eq!(u16::from(get(&bench, "70569", "only-if-cached").await.status()), status, "{does:?}");
            assert_eq!(bench.calls(), 1);
        });
    }
}
