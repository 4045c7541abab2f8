//! `httpGet` and `tcpSocket` on real sockets. Needs root, for network namespaces.

mod dns;
mod hostile;
mod http;
mod names;
mod pod_network;
mod redirects;
mod tls;
