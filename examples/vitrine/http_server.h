// http_server.h: cpp-httplib's server with bounds on everything that a client decides: how many connections, how many bytes,
// how long, and with an end at which no request is lost.
//
// One connection carries one request. So many are handled at once, as many may wait, and all others are told to come again (503).
#pragma once

#include <httplib.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace vitrine::cli {

struct HttpLimits {
  size_t connections = 64;  // that are handled at once; as many may wait
  size_t body = 16 << 20;   // bytes of a request's body
  double seconds = 10;      // for a request to come in whole, and again for its answer to go out
};

class HttpServer : public httplib::Server {
 public:
  explicit HttpServer(const HttpLimits& limits);
  ~HttpServer() override;

  // Binds; port 0 is any. Returns the port. Throws if it cannot.
  int bind(const std::string& host, int port);
  // Serves in a thread of its own until `finish`.
  void start();
  // Takes no new connection, answers all that there are, and returns when that is done. What connected before it was called
  // is answered (on Linux; elsewhere what the system had not handed over yet is reset).
  void finish();

  uint64_t turned_away() const { return turned_away_; }  // connections that got 503 unread

 private:
  class Threads;  // httplib's queue of connections
  class Leaving;  // those that were turned away and have not gone yet
  bool process_and_close_socket(int socket) override;

  const HttpLimits limits_;
  std::atomic<uint64_t> turned_away_ = 0;
  std::atomic<int> listening_ = -1;  // its socket
  std::unique_ptr<Leaving> leaving_;
  std::thread thread_;
};

}  // namespace vitrine::cli
