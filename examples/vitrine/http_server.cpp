#include "http_server.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/filter.h>
#endif

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "engine/check.h"
#include "engine/parallel.h"
#include "engine/text.h"

namespace vitrine::cli {

namespace {

using Clock = std::chrono::steady_clock;

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Whether the socket is ready for it before then.
bool ready(int socket, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd wanted{socket, events, 0};
    const int found = ::poll(&wanted, 1, static_cast<int>(std::min<int64_t>(left + 1, 60000)));
    if (found > 0) return true;
    if (found < 0 && errno != EINTR) return false;
  }
}

// A connection that has to bring its request within a time and a size, however slowly each byte comes.
class BoundedStream : public httplib::Stream {
 public:
  BoundedStream(int socket, double seconds, size_t most_bytes)
      : socket_(socket), seconds_(seconds), left_(most_bytes), read_until_(after(seconds)) {}

  bool is_readable() const override { return at_ < end_ || ready(socket_, POLLIN, read_until_); }
  bool is_writable() const override { return ready(socket_, POLLOUT, write_until()); }

  ssize_t read(char* to, size_t size) override {
    if (at_ == end_) {
      if (left_ == 0 || !ready(socket_, POLLIN, read_until_)) return -1;
      const ssize_t count = ::recv(socket_, buffer_.data(), std::min(buffer_.size(), left_), 0);
      if (count <= 0) return count;
      at_ = 0;
      end_ = static_cast<size_t>(count);
      left_ -= end_;
    }
    const size_t count = std::min(size, end_ - at_);
    std::memcpy(to, buffer_.data() + at_, count);
    at_ += count;
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* from, size_t size) override {
    if (!ready(socket_, POLLOUT, write_until())) return -1;
    return ::send(socket_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override { name(::getpeername, ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { name(::getsockname, ip, port); }
  int socket() const override { return socket_; }
  bool has_read() const { return end_ > 0; }
  bool has_written() const { return writing_; }

 private:
  // The answer's time begins with its first byte.
  Clock::time_point write_until() const {
    if (!writing_) {
      writing_ = true;
      write_until_ = after(seconds_);
    }
    return write_until_;
  }
  template <class Get>
  void name(Get get, std::string& ip, int& port) const {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> service{};
    if (get(socket_, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
        ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host.data(), host.size(), service.data(),
                      service.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
      return;
    ip = host.data();
    port = std::atoi(service.data());
  }

  int socket_;
  double seconds_;
  size_t left_;
  Clock::time_point read_until_;
  mutable bool writing_ = false;
  mutable Clock::time_point write_until_;
  std::array<char, 16384> buffer_;
  size_t at_ = 0, end_ = 0;
};

// Closes a connection behind an answer. A system that closes one with unread bytes resets it, and the client may lose the
// answer; so what it still sends is read for a while.
void close_gently(int socket, double seconds) {
  ::shutdown(socket, SHUT_WR);
  const auto deadline = after(seconds);
  std::array<char, 65536> unread;
  while (ready(socket, POLLIN, deadline) && ::recv(socket, unread.data(), unread.size(), 0) > 0) {
  }
  ::close(socket);
}

// Whether this thread turns connections away.
thread_local bool turns_away = false;

// An answer that httplib has no part in; a socket's buffer holds it.
void tell(int socket, std::string_view status, std::string_view more, std::string_view why) {
  const std::string body = text("{\"error\":\"{}\"}\n", why),
                    words = text(
                        "HTTP/1.1 {}\r\n{}Connection: close\r\nContent-Type: "
                        "application/json\r\nContent-Length: {}\r\n\r\n{}",
                        status, more, body.size(), body);
  [[maybe_unused]] const auto ignored =
      ::send(socket, words.data(), words.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

#ifdef __linux__
// From here on the listening socket ignores whoever wants to connect, and takes those whose connecting is under way: of a
// segment with the flag SYN alone nothing is let through.
void ignore_newcomers(int socket) {
  constexpr uint32_t flags = 13, syn = 0x02;
  std::array<sock_filter, 5> program{{BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags),
                                      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn),
                                      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
                                      BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0xffffffff)}};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  // Where the system does not know it, the end is as it is elsewhere.
  [[maybe_unused]] const int ignored =
      ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}
#else
void ignore_newcomers(int) {}
#endif

}  // namespace

// Connections that have their answer and are to be closed gently, all by one thread: whoever waits for nothing but their end does
// not keep others from theirs. Of more than `most` the first ones are closed at once.
class HttpServer::Leaving {
 public:
  Leaving() : thread_([this] { work(); }) {}
  ~Leaving() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;

  void add(int socket) {
    ::shutdown(socket, SHUT_WR);
    const std::lock_guard lock(mutex_);
    if (sockets_.size() == most) {
      ::close(sockets_.front().socket);
      sockets_.pop_front();
    }
    sockets_.push_back({socket, after(1)});
    changed_.notify_one();
  }

 private:
  struct One {
    int socket;
    Clock::time_point until;
  };
  static constexpr size_t most = 256;

  // Whether it has gone, or had its time; reads what it still sends.
  static bool has_gone(const One& one) {
    std::array<char, 16384> unread;
    const ssize_t count = ::recv(one.socket, unread.data(), unread.size(), MSG_DONTWAIT);
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) ||
           Clock::now() >= one.until;
  }
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ending_ || !sockets_.empty(); });
      if (sockets_.empty()) return;
      std::erase_if(sockets_, [](const One& one) {
        if (!has_gone(one)) return false;
        ::close(one.socket);
        return true;
      });
      changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return false; });
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<One> sockets_;
  bool ending_ = false;
  std::thread thread_;
};

// Some threads handle connections; one more turns away those for which there is no room.
class HttpServer::Threads : public httplib::TaskQueue {
 public:
  Threads(size_t handling, std::atomic<uint64_t>& turned_away) : most_(handling), turned_away_(turned_away) {
    for (size_t i = 0; i < handling; ++i) threads_.emplace_back([this] { work(waiting_, handled_); });
    threads_.emplace_back([this] {
      turns_away = true;
      work(away_, sent_away_);
    });
  }
  void enqueue(std::function<void()> connection) override {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < most_ + idle_) {
      waiting_.push_back(std::move(connection));
      handled_.notify_one();
    } else {
      ++turned_away_;
      away_.push_back(std::move(connection));
      sent_away_.notify_one();
    }
  }
  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    handled_.notify_all();
    sent_away_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work(std::deque<std::function<void()>>& queue, std::condition_variable& changed) {
    set_thread_count(1);  // of loops: there are as many of these threads as there are connections
    std::unique_lock lock(mutex_);
    const bool handles = &queue == &waiting_;
    while (true) {
      if (handles) ++idle_;
      changed.wait(lock, [&] { return ending_ || !queue.empty(); });
      if (handles) --idle_;
      if (queue.empty()) return;
      const std::function<void()> connection = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      connection();
      lock.lock();
    }
  }

  const size_t most_;
  std::atomic<uint64_t>& turned_away_;
  std::mutex mutex_;
  std::condition_variable handled_, sent_away_;
  std::deque<std::function<void()>> waiting_, away_;
  size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

HttpServer::HttpServer(const HttpLimits& limits) : limits_(limits), leaving_(std::make_unique<Leaving>()) {
  new_task_queue = [this] { return std::make_unique<Threads>(limits_.connections, turned_away_).release(); };
  set_payload_max_length(limits.body);
  set_socket_options([this](int socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    listening_ = socket;
  });
}

HttpServer::~HttpServer() {
  if (thread_.joinable()) finish();
}

int HttpServer::bind(const std::string& host, int port) {
  errno = 0;
  const int bound = port == 0 ? bind_to_any_port(host) : bind_to_port(host, port) ? port : -1;
  if (bound < 0)
    fail(Fault::output, "cannot listen on {}:{}{}", host, port,
         errno == 0 ? "" : text(": {}", std::strerror(errno)));
  // httplib lets five wait that it has not taken yet; who comes then has to try again after a second, and two, and four.
  ::listen(listening_, 1024);
  return bound;
}

void HttpServer::start() {
  thread_ = std::thread([this] { listen_after_bind(); });
  while (!is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void HttpServer::finish() {
  ignore_newcomers(listening_);
  // Connections that the system has made and nobody has taken yet: httplib takes them as long as it runs.
  for (int quiet = 0; quiet < 5;) {
    pollfd waiting{listening_, POLLIN, 0};
    quiet = ::poll(&waiting, 1, 0) > 0 ? 0 : quiet + 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  stop();
  thread_.join();  // also of all that handle connections
}

bool HttpServer::process_and_close_socket(int socket) {
  if (turns_away) {
    tell(socket, "503 Service Unavailable", "Retry-After: 1\r\n",
         "too many connections at once; try it again");
    leaving_->add(socket);
    return true;
  }
  constexpr size_t head = 65536;  // of a request, beside its body
  BoundedStream stream(socket, limits_.seconds, limits_.body + head);
  bool closed = false;
  const bool answered = process_request(stream, true, closed, {});
  // A head that does not come to its end in time gets no word of httplib's.
  if (stream.has_read() && !stream.has_written())
    tell(socket, "408 Request Timeout", "", "the request did not come in whole in time, or is too large");
  close_gently(socket, std::min(limits_.seconds, 2.0));
  return answered;
}

}  // namespace vitrine::cli
