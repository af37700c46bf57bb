// function_ref.h: a function that an argument brings along for as long as the call lasts.
//
// It refers to what it was made of, copies nothing and takes no memory; std::function is for what is kept. (C++26 has one.)
#pragma once

namespace vitrine {

template <class Signature>
class FunctionRef;

template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class Function>
  FunctionRef(const Function& function)
      : of_(&function), call_([](const void* of, Arguments... arguments) -> Result {
          return (*static_cast<const Function*>(of))(arguments...);
        }) {}
  Result operator()(Arguments... arguments) const { return call_(of_, arguments...); }

 private:
  const void* of_;
  Result (*call_)(const void*, Arguments...);
};

}  // namespace vitrine
