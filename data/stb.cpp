// stb.cpp: compiles stb_image once, for PNG and BMP alone. Its other decoders have known memory errors.
#ifdef VITRINE_FILES

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#include <stb/stb_image.h>

#endif
