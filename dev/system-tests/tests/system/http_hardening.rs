//! Protection of the pages by the passive rules of OWASP ZAP (headers, cookies, caches, leaks of internals) and
//! by limits for each client (bytes, time, registrations).

use std::time::Duration;

use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderMap},
};
use stack::{
    connection_urls::PASSWORD,
    service::{Program, Service},
};
use system_tests::{
    TestEnvironment,
    customers::{http_client, post_form, register},
    operator::{Operator, submit_password},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

async fn request(
    service: &Service,
    method: Method,
    path: &str,
    accept: &str,
    body: &'static str,
) -> anyhow::Result<Response> {
    let request = http_client()?.request(method, format!("{}{path}", service.url()));
    let request = request.header(header::ACCEPT, accept).body(body);
    Ok(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await?)
}

/// A response and the description of its request.
struct Exchange {
    request: String,
    response: Response,
}

/// Returns each kind of response of the Web Store and of Marketing, for a browser and for a program.
async fn all_kinds_of_responses(environment: &TestEnvironment) -> anyhow::Result<Vec<Exchange>> {
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    post_form(&web_store, "Ann").await?;
    let operator = Operator::log_in(&marketing).await?;
    let mut exchanges = Vec::new();
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
            let response = request(service, method.clone(), path, accept, body).await?;
            let request = format!("{method} {}{path} {body} for {accept}", service.process.name());
            exchanges.push(Exchange { request, response });
        }
    }
    for path in ["/customers", "/customers?q=%FF&below=x", "/customers/export.csv", "/nothing"] {
        let response = operator.get(path).await?;
        exchanges.push(Exchange { request: format!("GET {path} by the operator"), response });
    }
    Ok(exchanges)
}

fn has(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|header| header == value)
}

#[tokio::test]
async fn every_response_has_security_headers_and_no_internals() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for Exchange { request, response } in all_kinds_of_responses(&environment).await? {
        let headers = response.headers().clone();
        let policy = headers["content-security-policy"].to_str()?;
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(rule), "{request}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{request}: {policy}");
        assert!(has(&headers, "x-content-type-options", "nosniff"), "{request}");
        assert!(has(&headers, "x-frame-options", "DENY"), "{request}");
        assert!(has(&headers, "referrer-policy", "same-origin"), "{request}");
        for isolation in ["cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy"]
        {
            assert!(headers.contains_key(isolation), "{request}: {isolation}");
        }
        for revealing in ["server", "x-powered-by", "x-aspnet-version", "x-debug-token"] {
            assert!(!headers.contains_key(revealing), "{request}: {revealing}");
        }
        let body = response.text().await?;
        let content_type = match headers.get(header::CONTENT_TYPE) {
            Some(content_type) => content_type.to_str()?,
            None => "",
        };
        let is_utf8 = content_type.contains("charset=utf-8") || content_type.contains("json");
        assert!(body.is_empty() || is_utf8, "{request}: {content_type}");
        for internal in ["sqlx", "axum", "hyper", "panicked", "/src/", "mysql://", "postgres://", "127.0.0.1"]
        {
            assert!(!body.contains(internal), "{request} shows {internal}: {body}");
        }
        // Content that the policy forbids, and content from other hosts.
        for forbidden in ["<script", "style=\"", "javascript:", "onclick", "src=\"http", "href=\"http"] {
            assert!(!body.contains(forbidden), "{request} has {forbidden}: {body}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn caches_keep_style_sheet_but_no_personal_data() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for Exchange { request, response } in all_kinds_of_responses(&environment).await? {
        let cache = response.headers()[header::CACHE_CONTROL].to_str()?;
        let expected = if request.contains("web-store/  ") {
            // The empty form, which a browser may keep for its back button.
            "private, no-cache"
        } else if request.contains("/style/") {
            "no-cache"
        } else {
            "no-store"
        };
        assert_eq!(cache, expected, "{request}");
    }
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let page = http_client()?.get(web_store.url()).send().await?.text().await?;
    let (_, name) = page.split_once("href=\"/style/").unwrap();
    let url = format!("{}/style/{}", web_store.url(), name.split_once('"').unwrap().0);
    let style = http_client()?.get(url).send().await?;
    assert!(has(style.headers(), "cache-control", "public, max-age=31536000, immutable"));
    assert!(has(style.headers(), "content-type", "text/css; charset=utf-8"));
    Ok(())
}

#[tokio::test]
async fn robots_are_excluded_from_marketing() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    let operator = Operator::log_in(&marketing).await?;
    for path in ["/customers", "/customers/export.csv", "/log-in", "/nothing"] {
        let response = operator.get(path).await?;
        assert!(has(response.headers(), "x-robots-tag", "noindex, nofollow"), "{path}");
    }
    assert!(operator.read("/robots.txt").await?.contains("Disallow: /"));
    Ok(())
}

#[tokio::test]
async fn session_cookie_is_http_only_same_site_and_secure() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("TRUSTED_PROXIES", "127.0.0.1")];
    let marketing = environment.start_ready(Program::Marketing, &settings).await?;
    let cookie = |response: &Response| response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let over_http = cookie(&submit_password(&marketing, PASSWORD).await?);
    assert!(
        over_http.contains("; HttpOnly; SameSite=Strict") && !over_http.contains("Domain"),
        "{over_http}"
    );
    assert!(!over_http.contains("Secure"), "{over_http}");
    let request = http_client()?.post(format!("{}/log-in", marketing.url())).form(&[("password", PASSWORD)]);
    let response = request.header("X-Forwarded-Proto", "https").send().await?;
    assert!(cookie(&response).contains("; Secure"));
    let second_login = cookie(&submit_password(&marketing, PASSWORD).await?);
    assert_ne!(over_http, second_login, "two logins share a session");
    Ok(())
}

#[tokio::test]
async fn unsupported_method_returns_405_and_allowed_methods() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let web_store = environment.start_ready(Program::WebStore, &[]).await?;
    let marketing = environment.start_ready(Program::Marketing, &[]).await?;
    for (service, method, path, allowed) in [
        (&web_store, Method::DELETE, "/", "GET,HEAD"),
        (&web_store, Method::GET, "/customers", "POST"),
        (&marketing, Method::POST, "/customers", "GET,HEAD"),
        (&marketing, Method::GET, "/log-out", "POST"),
    ] {
        let response = request(service, method, path, "text/html", "").await?;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(has(response.headers(), "allow", allowed), "{path}: {:?}", response.headers());
        assert!(response.text().await?.contains("That cannot be done here"));
    }
    Ok(())
}

#[tokio::test]
async fn first_page_is_below_20_kib_and_needs_one_style_sheet() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for (program, path) in [(Program::WebStore, "/"), (Program::Marketing, "/log-in")] {
        let service = environment.start_ready(program, &[]).await?;
        let page = http_client()?.get(format!("{}{path}", service.url())).send().await?.text().await?;
        let style = page.split_once("<link rel=\"stylesheet\" href=\"").unwrap().1.split_once('"').unwrap().0;
        let css = http_client()?.get(format!("{}{style}", service.url())).send().await?.text().await?;
        assert!(page.len() + css.len() < 20 * 1024, "{} + {} bytes", page.len(), css.len());
        for external in ["src=", "@import", "url(", "<iframe", "<object"] {
            assert!(!page.contains(external) && !css.contains(external), "{external}");
        }
        assert_eq!(page.matches("<link rel=\"stylesheet\"").count(), 1);
        assert!(page.matches("<link ").count() == 2 && page.contains("<link rel=\"icon\" href=\"data:"));
    }
    Ok(())
}

#[tokio::test]
async fn client_over_registration_limit_gets_429_but_others_do_not() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("WEB_STORE_REGISTRATIONS_PER_MINUTE", "3"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let url = format!("{}/customers", web_store.url());
    for name in ["Ann", "Bob", "Cem"] {
        register(&web_store, name).await?;
    }
    let invalid = request(&web_store, Method::POST, "/customers", "text/html", "name=&email=").await?;
    assert_eq!(invalid.status(), StatusCode::UNPROCESSABLE_ENTITY, "invalid forms count");
    let page = post_form(&web_store, "Dan").await?;
    assert_eq!(page.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after: u64 = page.headers()[header::RETRY_AFTER].to_str()?.parse()?;
    assert!((1..=20).contains(&retry_after), "one registration is free every 20 s, not {retry_after} s");
    assert!(page.text().await?.contains("value=\"Dan\""), "the page does not keep the input");
    let json = http_client()?.post(&url).header(header::CONTENT_TYPE, "application/json");
    let problem = json.body(r#"{"name":"Dan","email":"dan@example.org"}"#).send().await?;
    assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(has(problem.headers(), "content-type", "application/problem+json"));

    let post_via = async |hops: &str| -> anyhow::Result<StatusCode> {
        let form = [("name", "Eve".to_owned()), ("email", format!("eve{}@example.org", hops.len()))];
        let request = http_client()?.post(&url).form(&form).header("X-Forwarded-For", hops);
        Ok(request.send().await?.status())
    };
    // The trusted proxy names another client.
    assert_eq!(post_via("192.0.2.1").await?, StatusCode::SEE_OTHER);
    for _ in 0..2 {
        post_via("10.0.0.1, 192.0.2.1").await?;
    }
    // The client cannot evade the limit with another address in front of its own.
    assert_eq!(post_via("10.0.0.99, 192.0.2.1").await?, StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}

#[tokio::test]
async fn forwarded_address_is_ignored_without_trusted_proxies() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let settings = [("WEB_STORE_REGISTRATIONS_PER_MINUTE", "1")];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    register(&web_store, "Ann").await?;
    let form = [("name", "Bob"), ("email", "bob@example.org")];
    let request = http_client()?.post(format!("{}/customers", web_store.url())).form(&form);
    let response = request.header("X-Forwarded-For", "192.0.2.1").send().await?;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    Ok(())
}

/// Sends only the beginning of a request. Returns the response when the service closes the connection.
async fn send_partial_request(service: &Service, beginning: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(service.address()).await?;
    stream.write_all(beginning.as_bytes()).await?;
    let mut response = String::new();
    timeout(Duration::from_mins(1), stream.read_to_string(&mut response)).await??;
    Ok(response)
}

#[tokio::test]
async fn slow_client_is_disconnected() -> anyhow::Result<()> {
    let (_environment, web_store) = TestEnvironment::with_web_store().await?;
    let partial_body = "POST /customers HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                        content-type: application/x-www-form-urlencoded\r\n\r\nname=A";
    let (body, head, nothing) = tokio::try_join!(
        send_partial_request(&web_store, partial_body),
        send_partial_request(&web_store, "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "),
        send_partial_request(&web_store, ""),
    )?;
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("content-security-policy"), "{body}");
    assert!(!head.contains("200 OK") && !nothing.contains("200 OK"), "{head}{nothing}");
    Ok(())
}
