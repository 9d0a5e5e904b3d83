//! The HTTP client below kube's, with TCP_NODELAY on its connections, which kube's own does not set: an exec's small writes
//! (acknowledgements, what a job's ssh sends first) would wait for the other side's delayed acknowledgement, some 40 ms each.
//! Measured: 20 MiB/s of a job's stdout, 48 ms until its first byte; without the wait 6 ms.

use ::kube::client::retry::RetryPolicy;
use ::kube::client::{Body, ClientBuilder, ConfigExt};
use ::kube::{Client, Config, Error};
use base64::Engine as _;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

/// As [`Client::try_from`], with the proxies that kubectl knows: socks5, http and https.
///
/// # Errors
/// As it, and for another kind of proxy.
pub(super) fn client(config: Config) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let Some(proxy) = config.proxy_url.clone() else { return over(tcp, config) };
    match proxy.scheme_str() {
        Some("socks5") => over(SocksV5::new(proxy, tcp), config),
        Some("http") => over(tunnel(proxy, tcp), config),
        Some("https") => {
            let tls = config.rustls_https_connector_with_connector(tcp)?;
            over(tunnel(proxy, tls), config)
        }
        _ => Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy) }),
    }
}

/// CONNECT (RFC 9110, 9.3.6).
fn tunnel<C>(proxy: Uri, connector: C) -> Tunnel<C> {
    let authorization = authorization(&proxy);
    let tunnel = Tunnel::new(proxy, connector);
    match authorization {
        Some(authorization) => tunnel.with_auth(authorization),
        None => tunnel,
    }
}

/// Of the user and password in a proxy's URL, percent-encoded there (RFC 3986, 3.2.1; RFC 7617).
fn authorization(proxy: &Uri) -> Option<HeaderValue> {
    let (userinfo, _) = proxy.authority()?.as_str().rsplit_once('@')?;
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(userinfo).collect();
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(decoded));
    let mut value = HeaderValue::from_str(&basic).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn over<C>(connector: C, config: Config) -> Result<Client, Error>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin,
    C::Future: Send,
    C::Error: std::error::Error + Send + Sync,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_decoded() {
        let of = |proxy: &'static str| authorization(&Uri::from_static(proxy));
        assert_eq!(of("http://me:a%40b%3Ac@proxy:3128").expect("has one"), "Basic bWU6YUBiOmM=");
        assert_eq!(of("http://proxy:3128"), None);
    }
}
