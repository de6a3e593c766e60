//! How the pages are protected, by the passive rules of OWASP ZAP: headers, cookies, caches, leaks of
//! internals; and by limits on what a client may take: bytes, time, turns.

use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use stack::connection_urls::PASSWORD;
use stack::service::{Program, Service};
use system_tests::customers::{http_client, post_form, register_at};
use system_tests::operator::{Operator, submit_password};
use system_tests::{SOON, TestEnvironment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn ready(mut service: Service) -> Service {
    service.wait_ready(SOON).await.unwrap();
    service
}

async fn request(
    service: &Service,
    method: Method,
    path: &str,
    accept: &str,
    body: &'static str,
) -> Response {
    let request = http_client().unwrap().request(method, format!("{}{path}", service.url()));
    let request = request.header(header::ACCEPT, accept).body(body);
    request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
}

/// Each kind of answer of the Web Store and of Marketing, to a browser and to a program.
async fn every_answer(site: &TestEnvironment) -> Vec<(String, Response)> {
    let (web_store, marketing) =
        (ready(site.start_web_store().unwrap()).await, ready(site.start_marketing().unwrap()).await);
    post_form(&web_store, "Ann").await.unwrap();
    let operator = Operator::log_in(&marketing).await.unwrap();
    let mut answers = Vec::new();
    for accept in ["text/html", "application/json"] {
        for (service, method, path, body) in [
            (&web_store, Method::GET, "/", ""),
            (&web_store, Method::HEAD, "/", ""),
            (&web_store, Method::GET, "/nothing", ""),
            (&web_store, Method::GET, "/customers", ""),
            (&web_store, Method::GET, "/customers/01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71", ""),
            (&web_store, Method::GET, "/style/0.css", ""),
            (&web_store, Method::GET, "/health/ready", ""),
            (&web_store, Method::POST, "/health/ready", ""),
            (&web_store, Method::POST, "/customers", "name=&email="),
            (&web_store, Method::POST, "/customers", "name=%FF"),
            (&web_store, Method::POST, "/customers", "name=Bob&email=ann@example.org"),
            (&web_store, Method::POST, "/customers", "name=Bob&email=bob@example.org"),
            (&marketing, Method::GET, "/", ""),
            (&marketing, Method::GET, "/log-in", ""),
            (&marketing, Method::POST, "/log-in", "password=wrong"),
            (&marketing, Method::POST, "/log-in", "password=%FF"),
            (&marketing, Method::GET, "/customers", ""),
            (&marketing, Method::DELETE, "/customers", ""),
            (&marketing, Method::GET, "/nothing", ""),
            (&marketing, Method::GET, "/robots.txt", ""),
        ] {
            let answer = request(service, method.clone(), path, accept, body).await;
            answers.push((format!("{method} {}{path} {body} for {accept}", service.process.name()), answer));
        }
    }
    for path in ["/customers", "/customers?q=%FF&below=x", "/customers/export.csv", "/nothing"] {
        answers.push((format!("the operator's GET {path}"), operator.get(path).await.unwrap()));
    }
    answers
}

fn is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|header| header == value)
}

#[tokio::test]
async fn every_answer_has_the_security_headers_and_says_nothing_of_the_inside() {
    let site = TestEnvironment::new().await.unwrap();
    for (name, answer) in every_answer(&site).await {
        let headers = answer.headers().clone();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(rule), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{name}: {policy}");
        assert!(is(&headers, "x-content-type-options", "nosniff"), "{name}");
        assert!(is(&headers, "x-frame-options", "DENY"), "{name}");
        assert!(is(&headers, "referrer-policy", "same-origin"), "{name}");
        for isolation in ["cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy"]
        {
            assert!(headers.contains_key(isolation), "{name}: {isolation}");
        }
        for telling in ["server", "x-powered-by", "x-aspnet-version", "x-debug-token"] {
            assert!(!headers.contains_key(telling), "{name}: {telling}");
        }
        let body = answer.text().await.unwrap();
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap()).unwrap_or_default();
        assert!(body.is_empty() || kind.contains("charset=utf-8") || kind.contains("json"), "{name}: {kind}");
        for inside in ["sqlx", "axum", "hyper", "panicked", "/src/", "mysql://", "postgres://", "127.0.0.1"] {
            assert!(!body.contains(inside), "{name} tells of {inside}: {body}");
        }
        // Nothing in a page that the policy would forbid, and nothing from another host.
        for forbidden in ["<script", "style=\"", "javascript:", "onclick", "src=\"http", "href=\"http"] {
            assert!(!body.contains(forbidden), "{name} has {forbidden}: {body}");
        }
    }
}

#[tokio::test]
async fn no_cache_keeps_what_is_about_people_and_every_cache_keeps_the_style() {
    let site = TestEnvironment::new().await.unwrap();
    for (name, answer) in every_answer(&site).await {
        let cache = answer.headers()[header::CACHE_CONTROL].to_str().unwrap();
        let expected = if name.contains("web-store/  ") {
            // The empty form, for the back button.
            "private, no-cache"
        } else if name.contains("/style/") {
            "no-cache"
        } else {
            "no-store"
        };
        assert_eq!(cache, expected, "{name}");
    }
    let web_store = ready(site.start_web_store().unwrap()).await;
    let page = http_client().unwrap().get(web_store.url()).send().await.unwrap().text().await.unwrap();
    let (_, style) = page.split_once("href=\"/style/").unwrap();
    let style = format!("{}/style/{}", web_store.url(), style.split_once('"').unwrap().0);
    let style = http_client().unwrap().get(style).send().await.unwrap();
    assert!(is(style.headers(), "cache-control", "public, max-age=31536000, immutable"));
    assert!(is(style.headers(), "content-type", "text/css; charset=utf-8"));
}

#[tokio::test]
async fn bots_are_told_to_stay_away_from_marketing() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = ready(site.start_marketing().unwrap()).await;
    let operator = Operator::log_in(&marketing).await.unwrap();
    for path in ["/customers", "/customers/export.csv", "/log-in", "/nothing"] {
        assert!(
            is(operator.get(path).await.unwrap().headers(), "x-robots-tag", "noindex, nofollow"),
            "{path}"
        );
    }
    assert!(operator.read("/robots.txt").await.unwrap().contains("Disallow: /"));
}

#[tokio::test]
async fn the_cookie_is_for_this_site_alone_out_of_scripts_reach_and_secure_behind_https() {
    let site = TestEnvironment::new().await.unwrap();
    let marketing = ready(site.start(Program::Marketing, &[("TRUSTED_PROXIES", "127.0.0.1")]).unwrap()).await;
    let cookie = |answer: &Response| answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let plain = cookie(&submit_password(&marketing, PASSWORD).await.unwrap());
    assert!(plain.contains("; HttpOnly; SameSite=Strict") && !plain.contains("Domain"), "{plain}");
    assert!(!plain.contains("Secure"), "{plain}");
    let request =
        http_client().unwrap().post(format!("{}/log-in", marketing.url())).form(&[("password", PASSWORD)]);
    let answer = request.header("X-Forwarded-Proto", "https").send().await.unwrap();
    assert!(cookie(&answer).contains("; Secure"));
    let again = cookie(&submit_password(&marketing, PASSWORD).await.unwrap());
    assert_ne!(plain, again, "every login has a session of its own");
}

#[tokio::test]
async fn a_method_that_is_not_allowed_gets_405_with_those_that_are() {
    let site = TestEnvironment::new().await.unwrap();
    let (web_store, marketing) =
        (ready(site.start_web_store().unwrap()).await, ready(site.start_marketing().unwrap()).await);
    for (service, method, path, allowed) in [
        (&web_store, Method::DELETE, "/", "GET,HEAD"),
        (&web_store, Method::GET, "/customers", "POST"),
        (&marketing, Method::POST, "/customers", "GET,HEAD"),
        (&marketing, Method::GET, "/log-out", "POST"),
    ] {
        let answer = request(service, method, path, "text/html", "").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(is(answer.headers(), "allow", allowed), "{path}: {:?}", answer.headers());
        assert!(answer.text().await.unwrap().contains("That cannot be done here"));
    }
}

#[tokio::test]
async fn the_first_page_is_less_than_20_kib_and_waits_for_one_style_sheet_alone() {
    let site = TestEnvironment::new().await.unwrap();
    for service in
        [ready(site.start_web_store().unwrap()).await, ready(site.start_marketing().unwrap()).await]
    {
        let path = if service.process.name() == "marketing" { "/log-in" } else { "/" };
        let page = http_client().unwrap().get(format!("{}{path}", service.url())).send().await.unwrap();
        let page = page.text().await.unwrap();
        let style = page.split_once("<link rel=\"stylesheet\" href=\"").unwrap().1.split_once('"').unwrap().0;
        let css = http_client().unwrap().get(format!("{}{style}", service.url())).send().await.unwrap();
        let css = css.text().await.unwrap();
        assert!(page.len() + css.len() < 20 * 1024, "{} + {} bytes", page.len(), css.len());
        for more in ["src=", "@import", "url(", "<iframe", "<object"] {
            assert!(!page.contains(more) && !css.contains(more), "{more}");
        }
        assert_eq!(page.matches("<link rel=\"stylesheet\"").count(), 1);
        assert!(page.matches("<link ").count() == 2 && page.contains("<link rel=\"icon\" href=\"data:"));
    }
}

#[tokio::test]
async fn a_client_that_registers_too_many_gets_429_and_others_go_on() {
    let site = TestEnvironment::new().await.unwrap();
    let settings = [("WEB_STORE_REGISTRATIONS_PER_MINUTE", "3"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let web_store = ready(site.start(Program::WebStore, &settings).unwrap()).await;
    let url = web_store.url();
    for name in ["Ann", "Bob", "Cem"] {
        register_at(&http_client().unwrap(), &url, name).await.expect("registered");
    }
    let mistyped = request(&web_store, Method::POST, "/customers", "text/html", "name=&email=").await;
    assert_eq!(mistyped.status(), StatusCode::UNPROCESSABLE_ENTITY, "mistakes do not count");
    let page = post_form(&web_store, "Dan").await.unwrap();
    assert_eq!(page.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = page.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "a turn comes back every 20 s: {wait}");
    assert!(page.text().await.unwrap().contains("value=\"Dan\""), "what was typed is kept");
    let json = http_client()
        .unwrap()
        .post(format!("{url}/customers"))
        .header(header::CONTENT_TYPE, "application/json");
    let problem = json.body(r#"{"name":"Dan","email":"dan@example.org"}"#).send().await.unwrap();
    assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(is(problem.headers(), "content-type", "application/problem+json"));

    let via = |hops: &'static str| {
        let form = [("name", "Eve".to_owned()), ("email", format!("eve{}@example.org", hops.len()))];
        http_client()
            .unwrap()
            .post(format!("{url}/customers"))
            .form(&form)
            .header("X-Forwarded-For", hops)
            .send()
    };
    let other = via("192.0.2.1").await.unwrap();
    assert_eq!(other.status(), StatusCode::SEE_OTHER, "another client, as the trusted proxy says");
    for _ in 0..2 {
        via("10.0.0.1, 192.0.2.1").await.unwrap();
    }
    let same = via("10.0.0.99, 192.0.2.1").await.unwrap();
    assert_eq!(same.status(), StatusCode::TOO_MANY_REQUESTS, "whatever it says that it came by");
}

#[tokio::test]
async fn without_trusted_proxies_nobody_can_pass_for_somebody_else() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store =
        ready(site.start(Program::WebStore, &[("WEB_STORE_REGISTRATIONS_PER_MINUTE", "1")]).unwrap()).await;
    register_at(&http_client().unwrap(), &web_store.url(), "Ann").await.expect("registered");
    let form = [("name", "Bob"), ("email", "bob@example.org")];
    let request = http_client().unwrap().post(format!("{}/customers", web_store.url())).form(&form);
    let answer = request.header("X-Forwarded-For", "192.0.2.1").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
}

/// Sends the beginning of a request and nothing more; what comes back until the connection is closed.
async fn dawdle(service: &Service, beginning: &str) -> String {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let closed = timeout(Duration::from_mins(1), stream.read_to_string(&mut answer)).await;
    closed.expect("the connection is closed").unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_dawdles_is_let_go() {
    let site = TestEnvironment::new().await.unwrap();
    let web_store = ready(site.start_web_store().unwrap()).await;
    let body = "POST /customers HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                content-type: application/x-www-form-urlencoded\r\n\r\nname=A";
    let (body, head, nothing) = tokio::join!(
        dawdle(&web_store, body),
        dawdle(&web_store, "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "),
        dawdle(&web_store, ""),
    );
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("content-security-policy"), "{body}");
    assert!(!head.contains("200 OK") && !nothing.contains("200 OK"), "{head}{nothing}");
}
