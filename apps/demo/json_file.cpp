#include "json_file.hpp"

#include "failure.hpp"

#include <cerrno>
#include <utility>

namespace demo {

JsonFile::JsonFile(std::string path) : path_(std::move(path)) {
    if (!is_wanted()) return;
    file_.open(path_);
    if (!file_) throw system_failure(fmt::format("cannot write {}", path_), errno);
}

void JsonFile::write(const std::string& text) {
    if (is_wanted() && !(file_ << text << std::flush))
        throw Failure(fmt::format("cannot write {}: is there room on that disk?", path_));
}

}  // namespace demo
