//! `httpGet` and `tcpSocket` on real sockets. Needs root, for network namespaces.

mod hostile;
mod http;
mod pod_network;
mod redirects;
mod tls;
