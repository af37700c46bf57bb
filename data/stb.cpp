// stb.cpp: compiles stb_image once, for BMP alone. Its other decoders have known memory errors.
#ifdef VITRINE_FILES

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#include <stb/stb_image.h>

namespace vitrine {

// stb_image keeps the last reason of each thread and gives none for some damage, so that the reason of an
// earlier image would be told. Only the file that compiles it can see what it keeps.
void forget_stb_reason() { stbi__g_failure_reason = nullptr; }

}  // namespace vitrine

#endif
